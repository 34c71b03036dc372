"""How busy the engines are while a collection lasts, and how much of its prompts they had in their caches."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rollout.messages import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUsage:
    """What the engines did in one collection."""

    busy: float
    """Share of the time in which an engine had a request under way, averaged over the engines, in [0, 1]."""
    running: float
    """Requests that an engine had under way, averaged over the time and the engines."""
    prompt_tokens: int
    """Tokens of all prompts that were answered."""
    cached_tokens: int
    """Those of them that vLLM found in its prefix cache."""


class UsageAccount:
    """Adds up what each engine has under way. It lasts for one collection, from its start on."""

    def __init__(self, engines: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begun = clock()
        self._running = [0] * engines  # requests under way
        self._since = [self._begun] * engines  # when that number last changed
        self._busy_s = [0.0] * engines
        self._request_s = [0.0] * engines
        self._prompt_tokens = self._cached_tokens = 0

    @contextmanager
    def asking(self, engine: int, requests: int = 1) -> Generator[None]:
        """Count requests as under way for the length of the block."""
        self._change(engine, requests)
        try:
            yield
        finally:
            self._change(engine, -requests)

    def count(self, prompt_tokens: int, answer: Answer) -> None:
        """Count the prompt of an answer."""
        self._prompt_tokens += prompt_tokens
        self._cached_tokens += answer.cached_tokens

    def usage(self) -> EngineUsage:
        """The account as it stands."""
        for engine in range(len(self._running)):
            self._change(engine, 0)
        whole_s = max(self._clock() - self._begun, 1e-9)
        return EngineUsage(
            busy=min(1.0, _mean(self._busy_s) / whole_s),
            running=_mean(self._request_s) / whole_s,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
        )

    def _change(self, engine: int, requests: int) -> None:
        now = self._clock()
        passed, self._since[engine] = now - self._since[engine], now
        self._request_s[engine] += passed * self._running[engine]
        self._busy_s[engine] += passed * (self._running[engine] > 0)
        self._running[engine] += requests


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
