"""Learner ranks that start in a second: forked from a process that has imported torch and DeepSpeed already.

The learner's own code runs as it is, in processes of its own; what is left out is Ray, which starts each rank with
16 s of imports. Whole runs and the tests of a rank's death start their ranks by Ray.
"""

import importlib
import os
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import connection, get_context
from typing import Any

import pytest

from rollout import spans
from rollout.ray_actors import ActorDied, ActorSpec
from trainer.learner.ranks import MALLOC_ENV

FORKS = get_context("forkserver")
PRELOADED = ("tests.trainer.preloaded", __name__)
FORKS.set_forkserver_preload(list(PRELOADED))
# Threads of a pool do not live through a fork: the server must have none. A rank sets its own number of threads.
SERVER_ENV = {
    "DS_ACCELERATOR": "cpu",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "GOMP_SPINCOUNT": "1000",  # read when torch is imported, which a rank's own environment comes too late for
    **MALLOC_ENV,
}


class ForkedActor:
    """What `rollout.ray_actors.spawn` gives for a rank: `submit` returns at once, `gather` waits."""

    def __init__(self, target: str, *args: Any, spec: ActorSpec) -> None:
        self.name = spec.name
        self.answers, theirs = FORKS.Pipe()
        self._process = FORKS.Process(target=_serve, args=(theirs, target, args, dict(spec.env)), daemon=True)
        self._process.start()
        theirs.close()

    def submit(self, method: str, *args: Any) -> "ForkedActor":
        with suppress(BrokenPipeError):  # a dead rank; `gather` says so
            self.answers.send((method, args))
        return self

    def renew(self, *args: Any) -> "ForkedActor":
        return self.submit("renew", *args)

    def call(self, method: str, *args: Any) -> Any:
        return gather([self.submit(method, *args)])[0]

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def gather(actors: Sequence[ForkedActor], timeout_s: float | None = None) -> list[Any]:
    """The answers in order. Raises the first error, without waiting for ranks that would wait for the failed one.

    timeout_s: not kept; pytest has a limit of its own.
    """
    del timeout_s
    answers: dict[int, Any] = {}
    while pending := {actor.answers: number for number, actor in enumerate(actors) if number not in answers}:
        for ready in connection.wait(list(pending)):
            try:
                failed, answer = ready.recv()  # pyright: ignore[reportAttributeAccessIssue]
            except (EOFError, ConnectionResetError) as error:
                raise ActorDied(f"{actors[pending[ready]].name} died") from error  # pyright: ignore[reportArgumentType]
            if failed:
                raise answer
            answers[pending[ready]] = answer  # pyright: ignore[reportArgumentType]
    return [answers[number] for number in range(len(actors))]


def fork_ranks(patch: pytest.MonkeyPatch) -> None:
    """From here on `Learner.start` forks its ranks."""
    for name, value in SERVER_ENV.items():
        patch.setenv(name, value)
    for name, stand_in in (("spawn", ForkedActor), ("gather", gather), ("share", lambda value: value)):
        patch.setattr(f"trainer.learner.driver.{name}", stand_in)


def _serve(driver: connection.Connection, target: str, args: tuple[Any, ...], env: dict[str, str]) -> None:
    os.environ.update(env)
    module, _, name = target.partition(":")
    kind: Any = getattr(importlib.import_module(module), name)
    held = kind(*args)
    while True:
        try:
            method, arguments = driver.recv()
        except EOFError:
            return
        try:
            if method == "renew":
                held.give_up()
                held = kind(*arguments)
                driver.send((False, None))
                continue
            with spans.span(method):
                answer = (spans.CALLS.get(method) or getattr(held, method))(*arguments)
            driver.send((False, answer))
        except Exception as error:  # noqa: BLE001  the driver raises it
            driver.send((True, error))
