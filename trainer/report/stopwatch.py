"""Wall seconds of the parts of an update."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall seconds per named lap. A lap that is entered again is continued.

    >>> watch = Stopwatch()
    >>> with watch("learn"):
    ...     pass
    >>> list(watch.laps)
    ['learn']
    """

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        """Seconds of each lap, in the order they were first entered."""

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.laps[name] = self.laps.get(name, 0.0) + time.perf_counter() - start
