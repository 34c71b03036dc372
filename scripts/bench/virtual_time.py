"""Time that is counted instead of waited for, and an engine that takes as long as a stated function of its batch."""

import asyncio
import heapq
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any


class _Jump(selectors.DefaultSelector):
    """Where asyncio would sleep until its next timer, the clock jumps there."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for another one, and no timer is set: the schedule is deadlocked")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose seconds cost nothing. Its clock starts at 0."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Do at once what is meant for a thread: it takes no virtual time."""
        done = self.create_future()
        done.set_result(func(*args))
        return done


def run_virtually(coroutine: Coroutine[Any, Any, float]) -> float:
    """`asyncio.run` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How long one step of an engine takes: whichever is slower, to read the memory or to compute.

    The defaults are those of Qwen2.5-1.5B on one H100: 64 prompts of 900 tokens with 150 sampled tokens each take
    0.88 s by them and took 0.91 s (docs/experiments/2026-11-26-one-h100.md).
    """

    weights_s: float = 2.6e-3
    """To read the weights once, and the overhead of a step."""
    sequence_s: float = 9e-6
    """To read the keys and values of one sequence of some 1,000 tokens."""
    token_s: float = 7e-6
    """To compute one token, of a prompt or a response."""
    reload_s: float = 1.1
    """To load new weights."""
    batched_tokens: int = 8192
    """The most tokens that a step computes."""
    overlaps: bool = True
    """Whether a step computes while it reads. If not, an even load gains nothing: the worst case for our schedule."""

    def step(self, sampling: int, prompt_tokens: int) -> float:
        """Seconds of a step in which `sampling` responses get a token each, beside tokens of prompts."""
        reading = self.weights_s + self.sequence_s * sampling
        computing = self.token_s * (sampling + prompt_tokens)
        return max(reading, computing) if self.overlaps else reading + computing


@dataclass(slots=True)
class _Waiting:
    prompt_tokens: int
    length: int
    done: asyncio.Future[None]


@dataclass(slots=True)
class SimulatedEngine:
    """Continuous batching with chunked prompts, as vLLM does it: prompts fill the steps of those that sample."""

    speed: Speed
    busy_s: float = 0.0
    """Time with a request at work."""
    sampled: int = 0
    """Tokens."""
    _waiting: deque[_Waiting] = field(default_factory=deque[_Waiting])
    _ends: list[tuple[int, int, asyncio.Future[None]]] = field(default_factory=list[tuple[int, int, Any]])
    _running: "asyncio.Task[None] | None" = None

    async def answer(self, prompt_tokens: int, length: int) -> None:
        """Wait until a response of `length` tokens is sampled. prompt_tokens: those that the cache does not hold."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(prompt_tokens, length, done))
        if self._running is None:
            self._running = asyncio.create_task(self._work())
        await done

    async def reload(self) -> None:
        """Take new weights."""
        await asyncio.sleep(self.speed.reload_s)

    async def _work(self) -> None:
        step, order = 0, 0
        while self._waiting or self._ends:
            sampling, room = len(self._ends), self.speed.batched_tokens - len(self._ends)
            prompt_tokens = 0
            while self._waiting and room > 0:
                first = self._waiting[0]
                part = min(room, first.prompt_tokens)
                first.prompt_tokens, room, prompt_tokens = first.prompt_tokens - part, room - part, prompt_tokens + part
                if first.prompt_tokens > 0:
                    break
                self._waiting.popleft()  # whose first token comes with the last of its prompt
                order += 1
                heapq.heappush(self._ends, (step + first.length, order, first.done))
            seconds = self.speed.step(sampling, prompt_tokens)
            self.busy_s += seconds
            self.sampled += len(self._ends)
            await asyncio.sleep(seconds)
            step += 1
            while self._ends and self._ends[0][0] <= step:
                heapq.heappop(self._ends)[2].set_result(None)
            await asyncio.sleep(0)  # whoever was answered may ask again before the next step
            await asyncio.sleep(0)
        self._running = None
