"""The checksums of a folder's files, written beside them: a file that was cut or changed since is found."""

import json
from collections.abc import Iterable
from pathlib import Path

from rollout.weights import checksum
from trainer.durable import files_in, write_whole

FILE = "checksums.json"
PART = "written-{rank}.json"


def write_part(folder: Path, rank: int, paths: Iterable[Path]) -> None:
    """Write size and checksum of the files of one rank: the sign that they are all there."""
    write_whole(folder / PART.format(rank=rank), json.dumps(_entries(folder, files_in(paths))))


def parts(folder: Path) -> list[Path]:
    """The files that `write_part` wrote."""
    return sorted(folder.glob(PART.format(rank="*")))


def join(folder: Path) -> None:
    """Write size and checksum of every file in `folder`, however deep, in one file in the place of the parts."""
    entries: dict[str, list[int | str]] = {}
    for part in parts(folder):
        entries |= json.loads(part.read_text())
        part.unlink()
    rest = [path for path in files_in([folder]) if path.relative_to(folder).as_posix() not in entries]
    (folder / FILE).write_text(json.dumps(entries | _entries(folder, rest), indent=1))


def damage(folder: Path) -> str | None:
    """What is wrong with the first damaged file; None if all are as written, or were written without checksums."""
    if not (folder / FILE).is_file():
        return None
    try:
        entries = dict(json.loads((folder / FILE).read_text()))
    except ValueError:
        return f"{FILE} cannot be read"
    for name, (size, expected) in entries.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if (now := path.stat().st_size) != size:
            return f"{name} has {now} of {size} bytes"
        if checksum(path) != expected:
            return f"{name} has other bytes than were written"
    return None


def _entries(folder: Path, files: Iterable[Path]) -> dict[str, list[int | str]]:
    return {path.relative_to(folder).as_posix(): [path.stat().st_size, checksum(path)] for path in files}
