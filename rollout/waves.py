"""Deterministic admission: requests wait for each other and go to the engines together, in a fixed order."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from envs.prompts import Message
from rollout.messages import Answer, Request
from rollout.policy import EnginePolicy, Exchange, Key
from rollout.types import Completion, Sampling
from rollout.usage import EngineUsage


@dataclass(frozen=True, slots=True)
class WavePolicy:
    """Engines that are asked in waves: a wave leaves when every live rollout has asked, sorted by key.

    The same seed then gives the same tokens in every run, because equal waves make equal batches, and equal batches
    add the same numbers in the same order. The price is a barrier, which `EnginePolicy` does not have.
    """

    engines: EnginePolicy
    """The engines, how to encode for them, and which of them a request goes to."""

    @contextmanager
    def session(self, rollouts: int) -> Generator["WaveSession"]:
        with self.engines.session(rollouts) as engines:
            yield WaveSession(engines, rollouts)


class WaveSession:
    """The waves of one collection."""

    def __init__(self, engines: EnginePolicy, rollouts: int) -> None:
        self._policy = engines
        self._live = rollouts
        self._waiting: dict[Key, tuple[Request, asyncio.Future[Answer]]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def enter(self, rollouts: int) -> None:
        """The others wait for these too."""
        self._live += rollouts

    def leave(self) -> None:
        """One rollout has ended; the others no longer wait for it."""
        self._live -= 1
        self._send_if_full()

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion:
        prompt_ids = self._policy.encode(messages, before)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[key] = self._policy.request(prompt_ids, sampling, seed, key), answer
        self._send_if_full()
        return self._policy.completion(prompt_ids, await answer)

    def usage(self) -> EngineUsage:
        return self._policy.usage()

    def _send_if_full(self) -> None:
        if not self._waiting or len(self._waiting) < self._live:
            return
        wave, self._waiting = self._waiting, {}
        for number in range(len(self._policy.engines)):
            part = [wave[key] for key in sorted(wave) if self._policy.engine_number(key) == number]
            if part:
                task = asyncio.create_task(self._send(number, part))
                self._sending.add(task)  # asyncio keeps no strong reference to a task
                task.add_done_callback(self._sending.discard)

    async def _send(self, number: int, wave: list[tuple[Request, asyncio.Future[Answer]]]) -> None:
        futures = [future for _, future in wave]
        try:
            with self._policy.account.asking(number, len(wave)):
                answers = await self._policy.engines[number].acall("complete_wave", [request for request, _ in wave])
            for future, answer in zip(futures, answers, strict=True):
                if not future.done():  # its rollout was cancelled
                    future.set_result(answer)
        except Exception as error:  # noqa: BLE001  every rollout that waits must get the error
            for future in futures:
                if not future.done():
                    future.set_exception(error)
