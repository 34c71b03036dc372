"""What one rank does in a publish: it fills a buffer with a bucket of weights, or writes them all to a file."""

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, distributed
from torch.multiprocessing.reductions import reduce_tensor

from rollout.buckets import as_words, broadcast, content, digest, pack
from rollout.transfer import (
    Broadcast,
    Bucket,
    GpuBuffer,
    Handle,
    HostBuffer,
    PublishError,
    Route,
    TensorSpec,
    WholeFile,
    add_contents,
    in_buckets,
    layer_of,
)
from rollout.weights import checksum

Weights = Callable[[Sequence[str]], Iterator[tuple[str, Tensor]]]
"""Gives the tensors of these names, whole, in this order. Ranks that hold parts of them must all iterate over it."""


class Outgoing:
    """One publish of one rank. Every rank takes part in every `pack`; those that have nothing to send return None."""

    def __init__(self, route: Route, version: int, tensors: Sequence[TensorSpec], *, sends: bool) -> None:
        self.route = route
        self.version = version
        self.groups = in_buckets(tensors, route.bucket_bytes)
        self.sends = sends
        self._buffer, self._handle = _no_buffer, None
        self._used = 0
        if self.sends and route.way != "file":
            size = max(sum(spec.space for spec in group) for group in self.groups)
            self._buffer, self._handle = _BUFFERS[route.way](route, size)

    @property
    def num_buckets(self) -> int:
        """How often `pack` is to be called."""
        return 1 if self.route.way == "file" else len(self.groups)

    def pack(self, number: int, weights: Weights) -> Bucket | None:
        """Bucket `number`, from 1. Raises PublishError where the weights find no room."""
        groups = self.groups if self.route.way == "file" else [self.groups[number - 1]]
        tensors = ((name, tensor) for group in groups for name, tensor in weights([spec.name for spec in group]))
        if not self.sends:
            deque(tensors, maxlen=0)
            return None
        is_file = self.route.way == "file"  # which has a checksum of its own
        sums = _Sums(with_digests=not is_file)
        if is_file:
            handle = self._written({name: sums.added(name, tensor).to("cpu", copy=True) for name, tensor in tensors})
        else:
            pack((sums.added(name, tensor) for name, tensor in tensors), self._buffer)
            self._used = sum(spec.space for spec in groups[0])
            handle = self._handle or Broadcast(num_bytes=self._used)
        digests, contents = sums.words()
        if self._buffer.is_cuda:
            torch.cuda.current_stream().synchronize()  # another process reads it now
        return Bucket(
            number=number,
            of=self.num_buckets,
            tensors=tuple(spec for group in groups for spec in group),
            digests=digests,
            contents=contents,
            handle=handle,
        )

    def transmit(self, group: distributed.ProcessGroup) -> None:
        """Broadcast what was packed last."""
        broadcast(group, self._buffer[: self._used])

    def close(self) -> None:
        """Give the buffer's memory back. The engines have let go of it."""
        on_gpu = self._buffer.is_cuda
        self._buffer = _no_buffer
        if isinstance(self._handle, HostBuffer):
            Path(self._handle.path).unlink(missing_ok=True)
        if on_gpu:
            torch.cuda.ipc_collect()
            torch.cuda.empty_cache()

    def _written(self, weights: dict[str, Tensor]) -> WholeFile:
        """Write the file; the one of the publish before goes once this one is there."""
        folder = _folder(self.route)
        path = folder / f"weights-{self.version:08d}.safetensors"
        partial = path.with_suffix(".partial")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(weights, partial, metadata={"format": "pt", "version": str(self.version)})
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            raise _no_room(self.version, folder, error) from error
        for old in folder.glob("weights-*.safetensors"):
            if old != path:
                old.unlink()
        return WholeFile(path=str(path), checksum=checksum(path))


class _Sums:
    """The checksums of a bucket's tensors, computed where they lie."""

    def __init__(self, *, with_digests: bool) -> None:
        self._with_digests = with_digests
        self._names: list[str] = []
        self._digests: list[Tensor] = []
        self._contents: list[Tensor] = []

    def added(self, name: str, tensor: Tensor) -> Tensor:
        """The tensor, whose checksums are on their way."""
        self._names.append(name)
        if self._with_digests:
            self._digests.append(digest(tensor))
        self._contents.append(content(tensor))
        return tensor

    def words(self) -> tuple[tuple[int, ...], dict[str, int]]:
        """The digests of the tensors, and the contents of the layers."""
        contents = zip(self._names, as_words(self._contents), strict=True)
        return tuple(as_words(self._digests)), add_contents(*({layer_of(name): value} for name, value in contents))


def _host_buffer(route: Route, num_bytes: int) -> tuple[Tensor, Handle]:
    path = _folder(route) / "bucket"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)  # a full folder would kill whoever writes to the mapping
    except OSError as error:
        raise _no_room(None, path.parent, error) from error
    buffer = torch.from_file(str(path), shared=True, size=num_bytes, dtype=torch.uint8)
    return buffer, HostBuffer(path=str(path), num_bytes=num_bytes)


def _gpu_buffer(_: Route, num_bytes: int) -> tuple[Tensor, Handle]:
    buffer = torch.empty(num_bytes, dtype=torch.uint8, device="cuda")
    uuid = str(torch.cuda.get_device_properties(buffer.device).uuid)
    return buffer, GpuBuffer(handles={uuid: pickle.dumps(reduce_tensor(buffer)[1])})


def _broadcast_buffer(_: Route, num_bytes: int) -> tuple[Tensor, None]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.empty(num_bytes, dtype=torch.uint8, device=device), None


_BUFFERS = {"shm": _host_buffer, "ipc": _gpu_buffer, "nccl": _broadcast_buffer}
_no_buffer = torch.empty(0, dtype=torch.uint8)


def _folder(route: Route) -> Path:
    if route.folder is None:
        raise ValueError(f"weights that travel by {route.way} need a folder")
    return route.folder


def _no_room(version: int | None, folder: Path, error: Exception) -> PublishError:
    publish = "a publish" if version is None else f"publish of version {version}"
    return PublishError(f"{publish}: {folder} cannot take the weights ({error}): free space there")
