"""Look at this machine: what it is, what would stop a run on it, and which models fit."""

from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from trainer.commands.table import CONFIGS
from trainer.config.build import ConfigError, build
from trainer.config.shape import ModelShape
from trainer.config.showing import DoctorConfig
from trainer.setup.findings import Finding, Gpu, findings, gpus
from trainer.setup.gpu_memory import Serving, Training, kv_cache_bytes
from trainer.setup.gpu_plan import GpuRequest, plan_gpus

CONTEXT, REQUESTS = 2560, 128
"""Of the runs that are planned: tokens of the papers' ALFWorld, and rollouts of an update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """A machine that was looked at."""

    config: DoctorConfig
    """What was asked for."""

    findings: tuple[Finding, ...]
    """What was found."""


def plan_doctor(config: DoctorConfig) -> Examination:
    """Look at the machine. Raises ConfigError for a proof without a GPU."""
    cards = gpus()
    if config.gpu and not cards:
        raise ConfigError("gpu=True, but nvidia-smi shows no GPU on this machine: run it where there is one")
    return Examination(config=config, findings=(*findings(cards), *_fitting(cards)))


def _fitting(found: tuple[Gpu, ...]) -> list[Finding]:
    """What of the presets this machine's GPUs hold, by the planner."""
    if not found:
        return [Finding(what="fits here", value="cluster=cpu: model=tiny, model=smollm2_135m")]
    smallest = min(gpu.memory_bytes for gpu in found)
    lines: list[Finding] = []
    for name, shape in preset_shapes().items():
        request = GpuRequest(
            shape=shape,
            training=Training(ranks=len(found), zero_stage=1, token_budget=16384, checkpointing=True, reference=True),
            serving=Serving(
                tensor_parallel=1,
                kv_cache_bytes=kv_cache_bytes(shape, requests=-(-REQUESTS // len(found)), context=CONTEXT),
            ),
            gpu_bytes=smallest,
        )
        plan = plan_gpus(request)
        lines.append(Finding(what=f"model={name}", value=plan.why if plan.fits else f"no: {plan.why}"))
    return lines


def preset_shapes() -> dict[str, ModelShape]:
    """The shapes in configs/model, by the preset's name."""
    files = sorted((CONFIGS / "model").glob("*.yaml"))
    presets: dict[str, Any] = {file.stem: OmegaConf.to_container(OmegaConf.load(file)) for file in files}
    return {name: build(ModelShape, preset["shape"]) for name, preset in presets.items() if "shape" in preset}
