"""The pace of one engine: its requests go there one after another, as evenly as its answers come."""

import asyncio
import heapq
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

FEW = 32
"""With fewer requests than these nobody waits: prompts seldom meet, and each response is what its rollout waits for."""
HELD = 8
"""One in so many may wait, no more: the engine's batch stays nearly whole, whatever the answers took before."""
REMEMBERED = 100
"""Answers that the mean time looks back on, about."""


class Pace:
    """Spaces the requests of one engine. It lasts for one collection.

    A step of an engine that has no prompt to compute is idle while it reads the weights; a step with three prompts
    makes all responses beside them wait. Requests that come by chance make many steps of both kinds. So each request
    goes a little after the one before: by the mean time of an answer over the number of requests, which is the time
    between two answers. Of those that wait, the rollout with the fewest turns goes first, since the collection ends
    with the last one.
    """

    def __init__(self) -> None:
        self._requests = 0  # asked or waiting
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # heap by (turn, arrival)
        self._arrivals = 0
        self._answers = 0
        self._answer_s = 0.0  # mean, without the time that the request waited here
        self._next = 0.0  # when the next may go, by the loop's clock
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def asking(self, turn: int) -> AsyncGenerator[None]:
        """Wait until the request may go; the block asks and waits for the answer. turn: the rollout's, from 0."""
        loop = asyncio.get_running_loop()
        self._requests += 1
        try:
            await self._wait(loop, turn)
            start_s = loop.time()
            yield
            self._learn(loop.time() - start_s)
        finally:
            self._requests -= 1

    async def _wait(self, loop: asyncio.AbstractEventLoop, turn: int) -> None:
        self._arrivals += 1
        go = loop.create_future()
        heapq.heappush(self._waiting, (turn, self._arrivals, go))
        self._go_on(loop)
        await go

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let those go whose time has come, and look again when the next one's has."""
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting and (loop.time() >= self._next or self._too_many_wait()):
            *_, go = heapq.heappop(self._waiting)
            if not go.cancelled():
                go.set_result(None)
                self._next = loop.time() + self._answer_s / self._requests
        self._timer = loop.call_at(self._next, self._go_on, loop) if self._waiting else None

    def _too_many_wait(self) -> bool:
        return self._requests < FEW or len(self._waiting) * HELD > self._requests

    def _learn(self, seconds: float) -> None:
        self._answers += 1
        self._answer_s += (seconds - self._answer_s) / min(self._answers, REMEMBERED)
