"""Which engine answers a request: the one that has its beginning in its cache, unless others are far less busy."""

from collections.abc import Generator, Hashable
from contextlib import contextmanager

SLACK = 8
"""Requests that an engine may have more than the least busy one and still get those that share its cache."""


class Router:
    """The requests that each engine has, and where beginnings of prompts were sent. It lasts for one collection."""

    def __init__(self, engines: int) -> None:
        self.load = [0] * engines
        self._home: dict[Hashable, int] = {}

    @contextmanager
    def engine(self, shares: Hashable | None, leaves: Hashable) -> Generator[int]:
        """Yield the number of the engine to ask; the request counts as its load for the length of the block.

        shares: names the beginning that the prompt shares with an earlier one; None if it shares none.
        leaves: names what later prompts may share with this one.
        """
        number = self._choose(shares)
        self._home[leaves] = number
        if shares is not None:
            self._home.setdefault(shares, number)
        self.load[number] += 1
        try:
            yield number
        finally:
            self.load[number] -= 1

    def _choose(self, shares: Hashable | None) -> int:
        """The engine of the shared beginning, or the least busy one, of several the first."""
        least = min(self.load)
        home = None if shares is None else self._home.get(shares)
        if home is not None and self.load[home] - least < SLACK:
            return home
        return self.load.index(least)
