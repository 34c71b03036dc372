"""Say what this machine is and what would run on it; with gpu=true, prove it on one card."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.table import Table

from rollout import ray_actors
from trainer.commands.table import CONFIGS
from trainer.config.build import ConfigError, build
from trainer.config.commands import DoctorConfig
from trainer.config.shape import ModelShape
from trainer.report.progress import Display
from trainer.setup.gpu_memory import GIB, Serving, Training, kv_cache_bytes
from trainer.setup.gpu_plan import GpuRequest, plan_gpus
from trainer.setup.findings import Finding, Gpu, findings, gpus

PROVEN = "qwen2.5_1.5b"
"""The model whose shape the proof takes, in configs/model."""
CONTEXT, REQUESTS = 2560, 128
"""Of the runs that are planned: tokens of the papers' ALFWorld, and rollouts of an update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """A machine that was looked at."""

    config: DoctorConfig
    """What was asked for."""

    findings: tuple[Finding, ...]
    """What was found."""

    gpus: tuple[Gpu, ...]
    """The GPUs of this machine."""


def plan_doctor(config: DoctorConfig) -> Examination:
    """Look at the machine. Raises ConfigError for a proof without a GPU."""
    found = gpus()
    if config.gpu and not found:
        raise ConfigError("gpu=True, but nvidia-smi shows no GPU on this machine: run it where there is one")
    return Examination(config=config, findings=(*findings(found), *_fitting(found)), gpus=found)


def show_doctor(plan: Examination, display: Display) -> None:
    """Print the findings and run the proof. Raises ConfigError where something must be mended before a run."""
    if plan.config.json:
        lines = [{"what": one.what, "value": one.value, "remedy": one.remedy} for one in plan.findings]
        display.console.print(json.dumps(lines), markup=False, soft_wrap=True)
    else:
        display.console.print(_table(plan.findings))
    if plan.config.gpu:
        _prove(plan.config, display)
    elif mend := [one for one in plan.findings if one.remedy is not None]:
        raise ConfigError(f"{len(mend)} of {len(plan.findings)} lines want mending, first: {mend[0].remedy}")


def _prove(config: DoctorConfig, display: Display) -> None:
    from trainer.commands.gpu_proof import ProofSpec, prove

    report = Path(config.report).absolute()
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    ray_actors.start(object_store_bytes=2 * GIB)
    try:
        with tempfile.TemporaryDirectory(prefix="stepcredit-proof-") as folder:
            spec = ProofSpec(device="cuda", shape=_shapes()[PROVEN])
            holds = prove(spec, Path(folder), display, report)
    finally:
        ray_actors.stop()
    display.stage(f"figures: {report}")
    if not holds:
        raise ConfigError("not everything holds on this GPU: the lines that FAILED say what")


def _fitting(found: tuple[Gpu, ...]) -> list[Finding]:
    """What of the presets this machine's GPUs hold, by the planner."""
    if not found:
        return [Finding(what="fits here", value="cluster=cpu: model=tiny, model=smollm2_135m")]
    smallest = min(gpu.memory_bytes for gpu in found)
    lines: list[Finding] = []
    for name, shape in _shapes().items():
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


def _shapes() -> dict[str, ModelShape]:
    """The shapes in configs/model, by the preset's name."""
    presets = {file.stem: yaml.safe_load(file.read_text()) for file in sorted((CONFIGS / "model").glob("*.yaml"))}
    return {name: build(ModelShape, preset["shape"]) for name, preset in presets.items() if "shape" in (preset or {})}


def _table(lines: tuple[Finding, ...]) -> Table:
    table = Table(title="this machine", title_justify="left", show_lines=False)
    table.add_column("what", no_wrap=True)
    table.add_column("found")
    table.add_column("remedy")
    for line in lines:
        table.add_row(line.what, line.value, line.remedy or "", style=None if line.remedy is None else "yellow")
    return table
