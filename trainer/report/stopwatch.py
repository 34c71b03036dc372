"""Wall seconds of the parts of an update."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


class Stopwatch:
    """Adds up wall seconds per named lap. A lap that is entered again is continued.

    >>> watch = Stopwatch()
    >>> with watch("learn"):
    ...     pass
    >>> list(watch.laps)
    ['learn']
    """

    def __init__(self, during: Callable[[str], AbstractContextManager[None]] = nullcontext) -> None:
        """during: entered with the name of a lap while it runs, such as `Display.doing`."""
        self._during = during
        self.laps: dict[str, float] = {}
        """Seconds of each lap, in the order they were first entered."""

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            with self._during(name):
                yield
        finally:
            self.laps[name] = self.laps.get(name, 0.0) + time.perf_counter() - start
