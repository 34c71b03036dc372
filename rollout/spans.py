"""What a process does from when to when: `span` is put around work, and kept only between `start` and `take`.

It is a module and no object, because what is traced, such as a step of a world, knows nothing of who traces it.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Work that was done."""

    name: str
    """What it was."""
    start_ns: int
    """When it began, by the clock of its machine, in nanoseconds since 1970."""
    end_ns: int
    """When it ended."""
    flow: int
    """Spans of one flow lie inside or behind each other; those of several overlap as they like."""


_NOTHING = nullcontext()
_flows = count()
_flow: ContextVar[int | None] = ContextVar("flow", default=None)
_kept: list[Span] | None = None


def start() -> int:
    """Keep the spans of this process from now on. Returns its clock, in nanoseconds."""
    global _kept
    _kept = []
    return time.time_ns()


def take() -> list[Span]:
    """The spans that have ended since `start`; nothing is kept any more."""
    global _kept
    spans, _kept = _kept or [], None
    return spans


CALLS: Mapping[str, Callable[[], Any]] = {"start_spans": start, "take_spans": take}
"""What every actor answers, whatever it holds."""


def span(name: str) -> AbstractContextManager[None]:
    """Keep the block as a span, if spans are kept."""
    return _NOTHING if _kept is None else _timed(name)


def add(monotonic: Sequence[tuple[str, float, float]]) -> None:
    """Keep spans that something else has measured, as one flow: (name, start, end) in seconds of time.monotonic."""
    if _kept is not None:
        shift, flow = time.time_ns() - time.monotonic_ns(), next(_flows)
        for name, start_s, end_s in monotonic:
            start_ns, end_ns = (shift + int(1e9 * moment) for moment in (start_s, end_s))
            _kept.append(Span(name=name, start_ns=start_ns, end_ns=end_ns, flow=flow))


@contextmanager
def _timed(name: str) -> Generator[None]:
    outer = _flow.get()
    flow = next(_flows) if outer is None else outer
    token, start_ns = _flow.set(flow), time.time_ns()
    try:
        yield
    finally:
        _flow.reset(token)
        if _kept is not None:
            _kept.append(Span(name=name, start_ns=start_ns, end_ns=time.time_ns(), flow=flow))
