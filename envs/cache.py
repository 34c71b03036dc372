"""Where worlds keep what they build: one folder for all of them, one below it for each."""

import os
from pathlib import Path


def cache_folder(world: str, chosen: str | Path | None = None) -> Path:
    """A world's own folder, absolute, made by nobody yet.

    It lies in `chosen`, else in $STEPCREDIT_CACHE, else in $XDG_CACHE_HOME/stepcredit, else in ~/.cache/stepcredit.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    root = chosen or os.environ.get("STEPCREDIT_CACHE") or base / "stepcredit"
    return Path(root).expanduser().resolve() / world
