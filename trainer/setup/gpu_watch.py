"""How much of a GPU is taken, as its driver tells it: this process needs no CUDA context of its own."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from rollout.types import Device

QUERY = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0")
MIB_PER_GIB = 1024
PERIOD_MS = 50


@dataclass(slots=True)
class Peak:
    """The most that was taken while somebody watched."""

    gib: float = 0.0
    """In GiB, above what was taken at first."""


class GpuMemory:
    """Memory of GPU 0 that anyone has taken since this was made. On a CPU every figure is 0."""

    def __init__(self, device: Device) -> None:
        self._on_gpu = device == "cuda"
        self._first = 0.0
        self._first = self.used_gib()

    def used_gib(self) -> float:
        """Taken now, in GiB."""
        if not self._on_gpu:
            return 0.0
        answer = subprocess.run(QUERY, capture_output=True, text=True, check=True).stdout
        return int(answer) / MIB_PER_GIB - self._first

    @contextmanager
    def watched(self) -> Generator[Peak]:
        """The peak of the block's time, sampled every 50 ms; it is known when the block ends."""
        peak = Peak()
        if not self._on_gpu:
            yield peak
            return
        command = [*QUERY, "-lms", str(PERIOD_MS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
            try:
                yield peak
            finally:
                watcher.terminate()
            samples = [int(line) for line in (watcher.stdout or ()) if line.strip().isdigit()]
        peak.gib = max(samples, default=0) / MIB_PER_GIB - self._first
