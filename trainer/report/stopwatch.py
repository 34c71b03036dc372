"""Seconds per lap of an update."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall seconds by name.

    >>> watch = Stopwatch()
    >>> with watch("learn"):
    ...     pass
    >>> list(watch.laps)
    ['learn']
    """

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.laps[name] = self.laps.get(name, 0.0) + time.perf_counter() - began
