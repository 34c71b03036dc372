"""What the parts of a proof share: its size, a folder, a model, an engine, a learner, the policy's version."""

from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np

from rollout.engines import Engines
from rollout.transfer import Way
from rollout.types import Device, Precision
from trainer.config.shape import ModelShape
from trainer.data.tokens import TokenBatch
from trainer.learner.driver import Learner
from trainer.setup.gpu_memory import GIB, Training
from trainer.setup.gpu_watch import GpuMemory

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofSpec:
    """The size of a proof."""

    device: Device
    """Where it runs."""
    shape: ModelShape
    """The model, with random weights."""
    rows: int = 64
    """Rows of the learner's batch."""
    prompt: int = 900
    """Prompt tokens of a row."""
    response: int = 100
    """Response tokens of a row."""
    requests: int = 64
    """Requests that the engine answers at once."""
    sampled: int = 150
    """Tokens that it samples for each."""

    @property
    def dtype(self) -> Precision:
        return "bfloat16" if self.device == "cuda" else "float32"

    @property
    def context(self) -> int:
        """The longest sequence that the engine sees, and one token more, which it samples after a text it scores."""
        return self.prompt + max(self.response, self.sampled) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a part shows."""

    numbers: Mapping[str, float]
    """Its figures by name, with the unit at the end of the name."""
    holds: bool = True
    """Whether what must hold does."""
    must: str = ""
    """What must hold, in words; empty where the part only measures."""


class Bench:
    """What the parts work with. Engine and learner are there once a part has started them."""

    def __init__(self, spec: ProofSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.model = folder / "model"
        self.version = 0
        self.memory = GpuMemory(spec.device)
        self.training = Training(ranks=1, zero_stage=1, token_budget=16384, checkpointing=True, reference=True)
        self.fastest: Way = "ipc" if spec.device == "cuda" else "shm"
        self.engines: Engines
        self.learner: Learner

    def rows(self, seed: int) -> TokenBatch:
        rows, length = self.spec.rows, self.spec.prompt + self.spec.response
        high = min(40_000, self.spec.shape.vocabulary)
        return TokenBatch(
            tokens=np.random.default_rng(seed).integers(10, high, rows * length, dtype=np.int32),
            prompt_lens=np.full(rows, self.spec.prompt, np.int32),
            response_lens=np.full(rows, self.spec.response, np.int32),
            trajectory=np.arange(rows, dtype=np.int64),
            time=np.zeros(rows, np.int64),
        )

    def held(self, predicted: int, before: float = 0.0) -> Shown:
        """Whether the GPU holds what the planner predicts. predicted: bytes; before: GiB that were used already."""
        after = self.memory.used_gib()
        return Shown(
            numbers={"used_gib": after - before, "predicted_gib": predicted / GIB},
            holds=after - before <= 1.1 * predicted / GIB,
            must="at most 10 % above the plan",
        )

    def close(self) -> None:
        """End the engine and the learner, whichever was started."""
        for name in ("engines", "learner"):
            if part := self.__dict__.pop(name, None):
                part.close()


def in_a_process(function: Callable[[], Result]) -> Result:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # whose GPU memory ends with it
        return pool.submit(function).result()
