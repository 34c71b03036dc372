"""The checksums of a folder's files, written beside them: a file that was cut or changed since is found."""

import json
from pathlib import Path

from rollout.weights import checksum

FILE = "checksums.json"


def write(folder: Path) -> None:
    """Write size and checksum of every file in `folder`, however deep."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = {path.relative_to(folder).as_posix(): [path.stat().st_size, checksum(path)] for path in files}
    (folder / FILE).write_text(json.dumps(entries, indent=1))


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
