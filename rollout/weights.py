"""The file in which the learner hands its weights to the engines: its folder and its checksum."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from rollout.transfer import PublishError

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "stepcredit-weights-"
_BLOCK_BYTES = 2**20
_held: set[Path] = set()  # this process's folders


class NoRoom(OSError):
    """Neither shared memory nor the disk has room for the weights."""


def checksum(path: Path) -> str:
    """xxh3-64 of the file's bytes, in hexadecimal."""
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def verify(path: Path, version: int, expected: str) -> None:
    """Raise PublishError unless the file is there and has the checksum that its writer sent."""
    if not path.is_file():
        raise PublishError(f"publish of version {version}: there are no weights at {path}")
    if (actual := checksum(path)) != expected:
        raise PublishError(f"publish of version {version}: {path} has checksum {actual}, the learner wrote {expected}")


def roomy(needed_bytes: int, shared: Path = SHARED_MEMORY, disk: Path | None = None) -> Path:
    """The folder to make `exchange_folder` in: shared memory if there is room, else the disk's temporary folder.

    needed_bytes: twice the size of the weights, because the old file goes after the new one is written.
    Raises NoRoom if neither has it.
    """
    disk = disk or Path(tempfile.gettempdir())
    for place in (shared, disk):
        if place.is_dir() and os.access(place, os.W_OK) and shutil.disk_usage(place).free >= needed_bytes:
            return place
    raise NoRoom(
        f"the weights need {_gb(needed_bytes)} GB to pass from the learner to the engines; {shared} has "
        f"{_free(shared)} and {disk} has {_free(disk)} GB free: enlarge shared memory (docker run "
        "--shm-size=...), or name a larger folder with TMPDIR=..."
    )


@contextmanager
def exchange_folder(place: Path) -> Generator[Path]:
    """Make a folder for the weights in `place`; remove it at the end, and before that those that nobody holds.

    A process holds its folder by a lock that ends with the process, however that ends.
    """
    sweep(place)
    folder, lock = _locked_folder(place)
    _held.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _held.discard(folder)
        os.close(lock)


def sweep(place: Path) -> list[Path]:
    """Remove the folders in `place` that processes without a clean end left behind. Returns them."""
    removed: list[Path] = []
    for folder in place.glob(f"{PREFIX}*"):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            removed.append(folder)
    return removed


def discard_held() -> None:
    """Remove this process's folders at once; for a process that is about to end."""
    for folder in _held:
        shutil.rmtree(folder, ignore_errors=True)


def _locked_folder(place: Path) -> tuple[Path, int]:
    """A new folder and its lock. Another process may sweep it away before it is locked: then another is made."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
        lock = _lock(folder)
        if lock is None:
            continue
        if folder.is_dir():
            return folder, lock
        os.close(lock)


def _lock(folder: Path) -> int | None:
    """The descriptor that holds a folder's lock; None if another process holds it, or the folder is gone or foreign."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _gb(size: int) -> str:
    return f"{size / 2**30:.2f}"


def _free(place: Path) -> str:
    return _gb(shutil.disk_usage(place).free) if place.is_dir() else "none of its"
