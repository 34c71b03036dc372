"""Files that a learner's rank writes while it goes on: from copies in host memory, checked and forced onto the disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer import checksums
from trainer.durable import files_in, sync


class BackgroundWriter:
    """Takes what belongs into one checkpoint's folder, and writes it in a thread.

    The thread ends with `written-RANK.json`, the checksums of what it wrote: with it everything is on the disk.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._tasks: list[Callable[[], Path]] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def add(self, state: Any, path: str | Path) -> None:
        """Copy `state`, which `torch.save` can write, for the file `path`."""
        host_state = on_host(state)
        self._tasks.append(lambda: _save(host_state, Path(path)))

    def add_folder(self, path: Path, write: Callable[[Path], None]) -> None:
        """Have `write` fill the folder `path` from copies of its own."""

        def task() -> Path:
            write(path)
            return path

        self._tasks.append(task)

    def start(self, root: Path) -> None:
        """Begin to write what was added, all of it below `root`."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the copies are under way
        tasks, self._tasks = self._tasks, []
        self._writing = self._thread.submit(self._write, root, tasks)

    def fault(self, *, wait: bool) -> str | None:
        """What the write failed of, None for nothing. wait: until it ends; else None while it goes on."""
        if self._writing is None or not (wait or self._writing.done()):
            return None
        error = self._writing.exception()
        while error is not None and error.__context__ is not None:
            error = error.__context__  # torch raises one of its own over a full disk's
        return None if error is None else str(error)

    def _write(self, root: Path, tasks: list[Callable[[], Path]]) -> None:
        paths = [task() for task in tasks]
        for path in files_in(paths):
            sync(path)
        checksums.write_part(root, self.rank, paths)


def on_host(value: Any, copies: dict[Any, Tensor] | None = None) -> Any:
    """A copy that later changes of `value` do not reach, its tensors in host memory. A shared tensor stays shared.

    From a GPU the tensors are on their way until `torch.cuda.synchronize`.
    """
    copies = {} if copies is None else copies
    if isinstance(value, Tensor):
        key = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() == 0 or key not in copies:
            copies[key] = _tensor_on_host(value)
        return copies[key]
    if isinstance(value, dict):
        result = copy(value)
        result.update({key: on_host(each, copies) for key, each in value.items()})
        return result
    if isinstance(value, list):
        return [on_host(each, copies) for each in value]
    if isinstance(value, tuple):
        parts = [on_host(each, copies) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return deepcopy(value)


def _tensor_on_host(tensor: Tensor) -> Tensor:
    host_tensor = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda, requires_grad=False)
    return host_tensor.copy_(tensor.detach(), non_blocking=True)


def _save(state: Any, path: Path) -> Path:
    with path.open("wb") as file:
        torch.save(state, file)
    return path
