"""Standard error, muted for what compiled code writes there."""

import os
from collections.abc import Generator
from contextlib import contextmanager

STDERR = 2


@contextmanager
def stderr_muted() -> Generator[None]:
    """Drop whatever this process writes to standard error in the block. For a block of milliseconds."""
    kept, null = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STDERR)
    try:
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        os.close(null)
