"""Say what a training run would take of its GPUs, on any machine: arithmetic only, nothing is started."""

import json
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from trainer.config.build import ConfigError
from trainer.config.commands import PlanConfig
from trainer.config.shape import ModelShape
from trainer.report.progress import Display
from trainer.setup import gpu_memory
from trainer.setup.adapted import check_targets
from trainer.setup.gpu_memory import GIB
from trainer.setup.gpu_plan import GpuPlan, GpuRequest, plan_gpus
from trainer.setup.packing import check_packing, packing_line
from trainer.setup.planned import card_bytes, does_not_fit, request_of
from trainer.setup.shapes import check_shared, shape_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapedRun:
    """A run that can be planned: the shape of its model is known."""

    config: PlanConfig
    """What was asked for."""

    shape: ModelShape
    """The shape of its model."""


def plan_plan(config: PlanConfig) -> ShapedRun:
    """Find the shape of the model that the plan of a GPU's memory is for.

    Raises ConfigError for a run without GPUs or in float32, and for a model whose shape is not known here.
    """
    if config.cluster.gpus == 0:
        raise ConfigError("cluster.gpus=0: there is nothing to plan without GPUs; take cluster=gpu cluster.gpus=N")
    if config.cluster.dtype != "bfloat16":
        raise ConfigError(f"cluster.dtype={config.cluster.dtype!r}: plans are for bfloat16, which cluster=gpu has")
    check_shared(config.model, config.engine.tensor_parallel)
    check_packing(config.learner, config.model)
    check_targets(config.learner, config.model)
    return ShapedRun(config=config, shape=shape_of(config.model))


def show_plan(plan: ShapedRun, display: Display) -> None:
    """Print the plan, as a table or as one line of JSON. Raises ConfigError where nothing fits."""
    config, shape = plan.config, plan.shape
    card = card_bytes(config.cluster)
    request = request_of(config, shape, config.cluster.gpus, card=card)
    chosen = plan_gpus(request)
    numbers = numbers_of(config, request, chosen)
    if config.json:
        display.line(json.dumps(numbers))
    else:
        display.console.print(_table(config, numbers))
        display.line(chosen.why)
        display.line(numbers["packing"])
    if not chosen.fits:
        raise does_not_fit(config, shape, chosen, card=card)


def numbers_of(config: PlanConfig, request: GpuRequest, plan: GpuPlan) -> dict[str, Any]:
    """The plan as plain values; sizes in GiB unless the name says bytes."""
    shape, cluster = request.shape, config.cluster
    return {
        "fits": plan.fits,
        "placement": plan.placement,
        "zero_stage": plan.zero_stage,
        "sleep": plan.placement == "sleeping",
        "kv_cache_bytes": 0 if request.serving is None else request.serving.kv_cache_bytes,
        "per_gpu_gib": {
            name: _gib(getattr(plan, name))
            for name in ("learner_start", "learner_idle", "learner_peak", "engine_awake", "engine_asleep")
        },
        "peak_gib": _gib(plan.peak),
        "host_gib": _gib(gpu_memory.host_bytes(shape, request.training, cluster.way)),
        "shm_gib": _gib(gpu_memory.shared_memory_bytes(shape, cluster.way)),
        "checkpoint_gib": _gib(gpu_memory.checkpoint_bytes(shape, request.training)),
        "export_gib": _gib(gpu_memory.export_bytes(shape, request.training)),
        "packing": packing_line(config.learner, config.model),
        "why": plan.why,
    }


def _table(config: PlanConfig, numbers: dict[str, Any]) -> Table:
    gpus = "1 GPU" if config.cluster.gpus == 1 else f"{config.cluster.gpus} GPUs"
    table = Table(title=Text(f"{config.model.source} on {gpus}"), title_justify="left")
    table.add_column("what")
    table.add_column("GiB", justify="right")
    for name, size in numbers["per_gpu_gib"].items():
        table.add_row(f"{name.replace('_', ', ')}, of each GPU", f"{size:.1f}")
    table.add_row("most at one time, of each GPU", f"{numbers['peak_gib']:.1f}", end_section=True)
    table.add_row("KV cache, of each GPU of an engine", f"{numbers['kv_cache_bytes'] / GIB:.1f}")
    labels = {"host": "host memory", "shm": "shared memory", "checkpoint": "checkpoint", "export": "exported model"}
    for name, what in labels.items():
        table.add_row(what, f"{numbers[f'{name}_gib']:.1f}")
    return table


def _gib(size: int) -> float:
    return round(size / GIB, 2)
