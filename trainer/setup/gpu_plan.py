"""Choose how engines and ranks share the GPUs: the first of a fixed list of placements whose memory fits."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from trainer.config.shape import ModelShape
from trainer.setup import gpu_memory
from trainer.setup.gpu_memory import GIB, Serving, Training

Placement = Literal["side by side", "sleeping", "split"]
USABLE = 0.95
"""The share of a GPU's memory that a plan fills; the rest is fragmentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRequest:
    """What is to be placed."""

    shape: ModelShape
    """The model."""
    training: Training
    """How it would be trained; each of `stages` is tried in place of its `zero_stage`."""
    serving: Serving | None
    """How it would be served; None where no engine runs."""
    gpu_bytes: int
    """Memory of one GPU."""
    placements: tuple[Placement, ...] = ("side by side", "sleeping")
    """The placements that may be chosen, best first."""
    stages: tuple[int, ...] = (1, 2, 3)
    """The ZeRO stages that may be chosen, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPlan:
    """A placement and what it takes, in bytes a GPU."""

    placement: Placement
    """"side by side": engine and rank keep their memory. "sleeping": the engine gives its memory back while the rank
    works. "split": each has its GPUs alone."""
    zero_stage: int
    """ZeRO stage of the learner."""
    learner_start: int
    """A rank that loads its models."""
    learner_idle: int
    """A rank between two updates."""
    learner_peak: int
    """A rank in the middle of one."""
    engine_awake: int
    """An engine that serves."""
    engine_asleep: int
    """An engine that waits for the rank: as much as awake if it does not sleep."""
    limit: int
    """What may be taken."""

    @property
    def peak(self) -> int:
        """The most that is taken of a GPU at one time."""
        if self.placement == "split":
            return max(self.learner_start, self.learner_peak, self.engine_awake)
        working = max(self.learner_start, self.learner_peak)
        return max(working + self.engine_asleep, self.learner_idle + self.engine_awake)

    @property
    def fits(self) -> bool:
        """Whether it fits; otherwise this is the placement that comes nearest."""
        return self.peak <= self.limit

    @property
    def why(self) -> str:
        """One sentence that says what is largest and what it is measured by."""
        verb = "fits into" if self.fits else "does not fit into"
        return (
            f"{self.placement}, ZeRO {self.zero_stage}: at most {self.peak / GIB:.1f} GiB, which {verb} "
            f"{self.limit / GIB:.1f} GiB ({USABLE:.0%} of a GPU)"
        )


def plan_gpus(request: GpuRequest) -> GpuPlan:
    """The first placement that fits, side by side before sleeping and low ZeRO stages before high ones.

    Where none fits, the one with the lowest peak, which then does not fit.
    """
    plans = list(_plans(request))
    return next((plan for plan in plans if plan.fits), min(plans, key=lambda plan: plan.peak))


def _plans(request: GpuRequest) -> Iterator[GpuPlan]:
    limit = int(USABLE * request.gpu_bytes)
    awake = 0 if request.serving is None else gpu_memory.engine_awake(request.shape, request.serving)
    for placement in request.placements:
        for stage in request.stages:
            training = replace(request.training, zero_stage=stage)
            yield GpuPlan(
                placement=placement,
                zero_stage=stage,
                learner_start=gpu_memory.learner_start(request.shape, training),
                learner_idle=gpu_memory.learner_idle(request.shape, training),
                learner_peak=gpu_memory.learner_peak(request.shape, training),
                engine_awake=awake,
                engine_asleep=gpu_memory.ASLEEP_BYTES if placement == "sleeping" else awake,
                limit=limit,
            )
