"""Deterministic admission: requests wait for each other and go to the engine together, in a fixed order."""

import asyncio

from envs.prompts import Message
from rollout.policy import Answer, EnginePolicy, Exchange, Key, Request, request
from rollout.types import Completion, Ids, Sampling


class WavePolicy:
    """Requests wait until every live rollout has asked, then go together, sorted by key.

    Equal waves make equal batches, and equal batches add up the same numbers in the same order: the same seed gives
    the same tokens twice. The price is the barrier that the plain policy does not have.
    """

    def __init__(self, inner: EnginePolicy) -> None:
        self._inner = inner
        self._live = 0
        self._waiting: dict[Key, tuple[Request, asyncio.Future[Answer]]] = {}
        self._waves: set[asyncio.Task[None]] = set()

    def enter(self, rollouts: int) -> None:
        """Announce rollouts before any of them asks."""
        self._live += rollouts

    def leave(self) -> None:
        """One rollout is over; the others wait for it no longer."""
        self._live -= 1
        self._go_if_full()

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion:
        prompt_ids: Ids = self._inner.encode(messages, before)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[key] = request(prompt_ids, sampling, seed, key), answer
        self._go_if_full()
        return self._inner.completion(prompt_ids, await answer)

    def _go_if_full(self) -> None:
        if not self._waiting or len(self._waiting) < self._live:
            return
        wave, self._waiting = self._waiting, {}
        for number in range(len(self._inner.engines)):
            part = [wave[key] for key in sorted(wave) if key[0] % len(self._inner.engines) == number]
            if part:
                task = asyncio.create_task(self._send(number, part))
                self._waves.add(task)
                task.add_done_callback(self._waves.discard)

    async def _send(self, number: int, wave: list[tuple[Request, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._inner.engines[number].acall("complete_wave", [asked for asked, _ in wave])
        except Exception as error:  # noqa: BLE001  whoever waits must hear of it
            for _, future in wave:
                future.set_exception(error)
            return
        for (_, future), answer in zip(wave, answers, strict=True):
            future.set_result(answer)
