"""Files that outlive a crash: their bytes, and the folder's list of names, are forced onto the disk."""

import os
from collections.abc import Iterable
from pathlib import Path


def sync(path: Path) -> None:
    """Force a file's bytes, or a folder's list of names, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(folder: Path) -> None:
    """The same for a folder and all that is in it."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that is there whole or not at all, whenever the process dies."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    sync(partial)
    partial.rename(path)
    sync(path.parent)


def files_in(paths: Iterable[Path]) -> list[Path]:
    """The files among `paths` and in the folders among them, however deep."""
    return sorted(
        path for top in paths for path in ((top, *top.rglob("*")) if top.is_dir() else (top,)) if path.is_file()
    )
