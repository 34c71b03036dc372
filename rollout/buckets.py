"""Tensors in a buffer, and the two checksums that tell whether an engine holds what the learner sent."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, cast

import torch
from torch import Tensor, distributed
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]  torch documents it so

from rollout.transfer import WORDS, Meeting, PublishError, TensorSpec

CHUNKS = {"cpu": 2**18, "cuda": 2**22}  # numbers that are hashed at once: they stay in a CPU's cache
_SPREAD = 2**40 + 1  # odd, and larger than any two words together: different words never have the same content
_WORD = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def spec_of(name: str, tensor: Tensor, shape: Sequence[int] | None = None) -> TensorSpec:
    """What a receiver must know of a tensor before it comes.

    shape: of the whole tensor, where this process holds a part of it.
    """
    shape = tuple(tensor.shape if shape is None else shape)
    dtype = str(tensor.dtype).removeprefix("torch.")
    return TensorSpec(name=name, dtype=dtype, shape=shape, num_bytes=torch.Size(shape).numel() * tensor.itemsize)


def pack(tensors: Iterable[Tensor], buffer: Tensor) -> None:
    """Copy the tensors into the buffer one after the other. buffer: uint8 [num_bytes]"""
    begin = 0
    for tensor in tensors:
        num_bytes = tensor.numel() * tensor.itemsize
        buffer[begin : begin + num_bytes].copy_(tensor.detach().contiguous().view(-1).view(torch.uint8))
        begin += spec_of("", tensor).space


def unpack(buffer: Tensor, specs: Iterable[TensorSpec]) -> Iterator[tuple[str, Tensor]]:
    """Views of the buffer. buffer: uint8 [num_bytes]"""
    begin = 0
    for spec in specs:
        flat = buffer[begin : begin + spec.num_bytes]
        yield spec.name, flat.view(getattr(torch, spec.dtype)).view(spec.shape)
        begin += spec.space


def meeting_store(host: str) -> TCPStore:
    """What the sender of broadcasts opens on its host, where the others meet it. Its `port` is free."""
    return TCPStore(host, 0, is_master=True, wait_for_workers=False)


def broadcast_group(device: str, meeting: Meeting, store: TCPStore | None = None) -> distributed.ProcessGroup:
    """A group apart from the process's own ones, for NCCL on GPUs and gloo on CPUs. Returns when all have come.

    store: the sender's own `meeting_store`; the others leave it out and connect to it.
    """
    limit = timedelta(seconds=meeting.timeout_s)
    store = store or TCPStore(meeting.host, meeting.port, timeout=limit, wait_for_workers=False)
    members, library = (store, meeting.rank, meeting.size), cast(Any, distributed)
    if device == "cuda":
        options = library.ProcessGroupNCCL.Options()
        options._timeout = limit
        group = library.ProcessGroupNCCL(*members, options)
    else:
        group = library.ProcessGroupGloo(*members, limit)
    broadcast(group, torch.zeros(1, dtype=torch.uint8, device=device))
    return group


def broadcast(group: distributed.ProcessGroup, buffer: Tensor) -> None:
    """Fill the buffer of every member with that of rank 0. uint8 [num_bytes]"""
    group.broadcast(buffer, 0).wait()
    if buffer.is_cuda:
        torch.cuda.current_stream().synchronize()


def digest(tensor: Tensor) -> Tensor:
    """A checksum that depends on every bit of a tensor and on its place: sum of word i times (2i + 1). int64 []

    It is computed where the tensor lies. One changed word always changes it.
    """
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    words = tensor.detach().contiguous().view(-1).view(_WORD[tensor.itemsize])
    chunk = CHUNKS[tensor.device.type]
    for begin in range(0, len(words), chunk):
        part = words[begin : begin + chunk]
        odd = torch.arange(2 * begin + 1, 2 * (begin + len(part)) + 1, 2, device=tensor.device)
        total += odd.mul_(part).sum()
    return total


def content(tensor: Tensor) -> Tensor:
    """A checksum of the numbers in a tensor, whatever their order and precision: sum of b (b + 2**40 + 1). int64 []

    b are the bits of a number in float32; a zero adds 0. So the sum over a layer does not change when its tensors are
    fused, transposed or padded. One changed number always changes it.
    """
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    numbers = tensor.detach().reshape(-1)
    chunk = CHUNKS[tensor.device.type]
    for begin in range(0, len(numbers), chunk):
        bits = numbers[begin : begin + chunk].float().view(torch.int32).long()
        total += (bits + _SPREAD).mul_(bits).sum()
    return total


def as_words(sums: Sequence[Tensor]) -> list[int]:
    """Checksums as integers in [0, 2**64), with one transfer from the device."""
    if not sums:
        return []
    return [int(value) % WORDS for value in torch.stack(list(sums)).cpu().numpy()]


def check_digests(tensors: Sequence[tuple[str, Tensor]], expected: Sequence[int]) -> None:
    """Raise PublishError where a tensor that arrived is not the one that was sent."""
    actual = as_words([digest(tensor) for _, tensor in tensors])
    for (name, _), received, sent in zip(tensors, actual, expected, strict=True):
        if received != sent:
            raise PublishError(f"{name} arrived with checksum {received:016x}, the learner sent {sent:016x}")
