"""Model FLOPs utilisation (MFU): the part of a GPU's arithmetic that the learner's passes would take at least."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from trainer.config.commands import TrainConfig
from trainer.config.shape import ModelShape
from trainer.learner.reports import LearnReport
from trainer.setup.findings import Gpu, gpus
from trainer.setup.shapes import find_shape

PEAK_FLOPS: Mapping[str, float] = {
    "A10": 125e12,
    "A100": 312e12,
    "B200": 2250e12,
    "H100": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H200": 989e12,
    "H200 NVL": 835e12,
    "L4": 121e12,
    "L40S": 362e12,
}
"""Dense bfloat16 operations a second, from NVIDIA's data sheets, by words of the name that the driver gives a card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """What one update of a run must compute, and what its ranks could."""

    shape: ModelShape
    """The model."""
    trains_all: bool
    """Whether all weights are trained; an adapter spares the passes for the gradients of the others."""
    flops_a_second: float
    """Peak of all ranks together."""

    @classmethod
    def of(cls, config: TrainConfig, here: Sequence[Gpu] | None = None) -> Self | None:
        """That of a run; None on CPUs, in another dtype, for a card without a known peak, and for an unknown shape.

        here: the GPUs of this machine; None asks its driver.
        """
        if config.cluster.device == "cpu" or config.cluster.dtype != "bfloat16":
            return None
        peaks = {peak_of(gpu.name) for gpu in (gpus() if here is None else here)}
        peak = peaks.pop() if len(peaks) == 1 else None
        shape = find_shape(config.model)
        if peak is None or shape is None:
            return None
        trains_all = config.learner.lora.rank is None
        return cls(shape=shape, trains_all=trains_all, flops_a_second=config.learner.world_size * peak)

    def mfu(self, learned: LearnReport, seconds: float) -> float:
        """In [0, 1]. seconds: those that the learner took.

        PaLM (2204.02311, appendix B): 6 operations a weight and token, and 12 L A T a token for attention of width A
        over T tokens. We differ: a token sees half of the T on average, so 6 L A T; the head is computed at response
        tokens alone; a weight that is not trained takes 4. What gradient checkpointing computes again does not count.
        """
        shape = self.shape
        each = 6 if self.trains_all else 4
        body = each * shape.layers * shape.block_parameters * learned.tokens
        head = each * shape.vocabulary * shape.hidden * learned.scored_tokens
        attention = 6 * shape.layers * shape.heads * shape.head_size * learned.squared_tokens
        return (body + head + attention) / (seconds * self.flops_a_second)


def peak_of(card: str) -> float | None:
    """The peak of a card by its name, such as "NVIDIA H100 80GB HBM3"; None for one that is not in the table."""
    words = set(card.replace("-", " ").split())
    fitting = [name for name in PEAK_FLOPS if set(name.split()) <= words]
    return PEAK_FLOPS[max(fitting, key=len)] if fitting else None
