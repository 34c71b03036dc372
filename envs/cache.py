"""Where worlds store what they build: one folder per world."""

import os
from pathlib import Path


def cache_folder(world: str, chosen: str | Path | None = None) -> Path:
    """The absolute path of a world's folder. This function does not create it.

    The first of these that is set contains it: `chosen`, $STEPCREDIT_CACHE, $XDG_CACHE_HOME/stepcredit,
    ~/.cache/stepcredit.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    root = chosen or os.environ.get("STEPCREDIT_CACHE") or base / "stepcredit"
    return Path(root).expanduser().resolve() / world
