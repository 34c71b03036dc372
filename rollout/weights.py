"""The file in which the learner hands its weights to the engines: its checksum, and the error of a failed publish."""

from pathlib import Path

import xxhash

_BLOCK_BYTES = 2**20


class PublishError(RuntimeError):
    """An engine did not take the new weights."""


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
        raise PublishError(f"publish of version {version}: there are no weights at {path}; publish again")
    if (actual := checksum(path)) != expected:
        raise PublishError(
            f"publish of version {version}: {path} has checksum {actual}, the learner wrote {expected}; publish again"
        )
