"""The records of a publish: how the learner's weights travel to the engines, in which buckets, and their checksums."""

import time
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Way = Literal["file", "shm", "ipc", "nccl"]
"""How weights travel: as one safetensors file; in buckets through host memory that both map, through memory of the GPU
that both share, or by a broadcast from GPU to GPU."""
BUCKET_BYTES = 2**29
ALIGNMENT = 16  # bytes; where a tensor may begin in a buffer
WORDS = 2**64
"""Checksums are sums modulo this."""
UNKNOWN = "unknown"
"""The share of weights that workers hold parts of in a way that is not known here."""


class PublishError(RuntimeError):
    """An engine did not take the new weights, or there was no room for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which way a run's weights travel, and in what portions."""

    way: Way
    """How they travel."""
    folder: Path | None = None
    """Where the file or the shared buffer lies, for the ways that need one."""
    bucket_bytes: int = BUCKET_BYTES
    """Size of a bucket. A larger tensor is a bucket of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """Where the learner's first rank and all workers of all engines meet for broadcasts."""

    host: str = ""
    """Of the learner's first rank; empty where nobody meets."""
    port: int = 0
    """On that host."""
    rank: int = 0
    """Of whoever joins: 0 is the sender; for an engine that of its first worker."""
    size: int = 0
    """How many meet."""
    timeout_s: float = 0.0
    """For all to come, and later for each broadcast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One tensor of a bucket."""

    name: str
    """Its Hugging Face name."""
    dtype: str
    """As torch names it, without the "torch."."""
    shape: tuple[int, ...]
    """Of the whole tensor, also where ranks hold parts of it."""
    num_bytes: int
    """What it takes."""

    @property
    def space(self) -> int:
        """What it takes in a buffer."""
        return -(-self.num_bytes // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeFile:
    """A safetensors file with all weights."""

    path: str
    """On this host."""
    checksum: str
    """Of the file's bytes, see `rollout.weights.checksum`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostBuffer:
    """A file that both processes map."""

    path: str
    """On this host."""
    num_bytes: int
    """Its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuBuffer:
    """Memory of GPUs that another process may map."""

    handles: Mapping[str, bytes]
    """By the UUID of the GPU: the pickled arguments that open its buffer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """A broadcast that starts when the engines wait for it."""

    num_bytes: int
    """How much is sent."""


Handle = WholeFile | HostBuffer | GpuBuffer | Broadcast


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Some of a publish's weights; the last one completes them."""

    number: int
    """From 1."""
    of: int
    """How many buckets the publish has."""
    tensors: tuple[TensorSpec, ...]
    """What is in it, in the order of the buffer."""
    digests: tuple[int, ...]
    """Of each tensor, see `rollout.buckets.digest`; none for a file, which has a checksum of its own."""
    contents: Mapping[str, int]
    """The sum of the tensors' contents by layer, see `rollout.buckets.content` and `layer_of`."""
    handle: Handle
    """Where it lies."""

    def __str__(self) -> str:
        first, last = self.tensors[0].name, self.tensors[-1].name
        return f"bucket {self.number} of {self.of} ({first} to {last})"


class Deadline:
    """A time limit over several waits."""

    def __init__(self, timeout_s: float) -> None:
        self._end = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """What is left of it, in seconds; 0 or more."""
        return max(0.0, self._end - time.monotonic())


class Sender(Protocol):
    """The learner's side of a publish."""

    def buckets(self, version: int, timeout_s: float, ranks: Collection[int] = ()) -> Generator[Bucket]:
        """The weights in buckets. One is taken back when the next is asked for.

        timeout_s: for all of them. ranks: of the learner, those on the GPUs of the engines that take the weights.
        Memory of a GPU that is lent to an engine and never taken stays lost.
        """
        ...

    def transmit(self, timeout_s: float) -> None:
        """Send the bucket, where it is a broadcast: the engines wait for it."""
        ...


def layer_of(name: str) -> str:
    """The layer that a parameter belongs to: its name up to the first number; "the rest" for one without a number.

    >>> layer_of("model.layers.12.mlp.up_proj.weight"), layer_of("lm_head.weight")
    ('layer 12', 'the rest')
    """
    return next((f"layer {part}" for part in name.split(".") if part.isdigit()), "the rest")


def in_buckets(tensors: Sequence[TensorSpec], bucket_bytes: int) -> list[list[TensorSpec]]:
    """The tensors in order, in buckets of at most this size; a larger tensor stands alone."""
    buckets: list[list[TensorSpec]] = []
    room = 0
    for tensor in tensors:
        if not buckets or tensor.space > room:
            buckets.append([])
            room = bucket_bytes
        buckets[-1].append(tensor)
        room -= tensor.space
    return buckets


def add_contents(*parts: Mapping[str, int]) -> dict[str, int]:
    """The sums of contents by layer."""
    total: dict[str, int] = {}
    for part in parts:
        for layer, value in part.items():
            total[layer] = (total.get(layer, 0) + value) % WORDS
    return total


def joined_contents(version: int, workers: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, int | None]:
    """The contents by layer of a model that workers share; None for a layer with weights that are shared unknown how.

    workers: of each, the contents by layer of every share of the weights that it holds, by the share's name. Raises
    PublishError where workers that hold the same share do not agree.
    """
    shares: dict[tuple[str, str], int] = {}
    for number, worker in enumerate(workers):
        for share, layers in worker.items():
            for layer, value in layers.items():
                if shares.setdefault((share, layer), value) != value:
                    raise PublishError(
                        f"publish of version {version}: worker {number} of the engine holds other weights in {layer} "
                        f"({share}) than the workers before it"
                    )
    joined: dict[str, int | None] = dict(add_contents(*({layer: value} for (_, layer), value in shares.items())))
    return joined | dict.fromkeys(layer for share, layer in shares if share == UNKNOWN)


def check_contents(version: int, expected: Mapping[str, int], actual: Mapping[str, int | None]) -> None:
    """Raise PublishError where the weights that an engine holds are not those that the learner sent.

    A layer whose content is None is not compared: what arrived was.
    """
    wrong = [layer for layer, value in expected.items() if actual.get(layer, -1) not in (value, None)]
    wrong += [layer for layer in actual if layer not in expected]
    if wrong:
        raise PublishError(
            f"publish of version {version}: the engine's weights are not the learner's in {len(wrong)} of "
            f"{len(expected)} layers, first in {wrong[0]}"
        )
