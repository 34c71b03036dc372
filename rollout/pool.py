"""Env workers: a few torch-free processes that each hold many episodes."""

import asyncio
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from envs import make
from envs.base import Env, EnvError, EnvStep
from rollout.ray_actors import ActorDied, ActorSpec, ActorTimeout, Remote, answer, spawn

WORKER = "rollout.pool:EnvWorker"

# Reasons. The first two are of the episode whose call the worker was at; the third is of all others that were in it.
WORKER_DIED, ENV_TIMEOUT, WORKER_LOST = "worker_died", "env_timeout", "worker_lost"


class EpisodeFailed(RuntimeError):
    """An episode that could not be played to its end, through no fault of the policy. `reason` is for counting."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """world and options as for `envs.make`; `workers` processes; one that is `timeout_s` at a call counts as hung."""

    world: str
    options: Mapping[str, Any]
    workers: int
    timeout_s: float = 60.0


class EnvWorker:
    """The inside of a worker process: episodes by number, environments reused until they raise."""

    def __init__(self, world: str, options: Mapping[str, Any]) -> None:
        self._world, self._options = world, dict(options)
        self._playing: dict[int, Env] = {}
        self._idle: list[Env] = []

    def reset(self, episode: int, task_id: str, seed: int) -> EnvStep:
        env = self._idle.pop() if self._idle else make(self._world, **self._options)
        self._playing[episode] = env
        with self._discarded_if_it_raises(episode):
            return env.reset(task_id, seed=seed)

    def step(self, episode: int, action: str) -> EnvStep:
        with self._discarded_if_it_raises(episode):
            return self._playing[episode].step(action)

    def release(self, episode: int) -> None:
        env = self._playing.pop(episode, None)
        if env is not None:
            self._idle.append(env)

    @contextmanager
    def _discarded_if_it_raises(self, episode: int) -> Generator[None]:
        """An environment that raised may have stopped halfway through a turn: nobody plays in it again."""
        try:
            yield
        except Exception:
            self._playing.pop(episode, None)
            raise


class Worker:
    """One worker process as the driver sees it: it answers one call after the other, in the order they were made."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.lost = False
        self._answered = asyncio.Event()  # the last call made
        self._answered.set()

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        """`timeout_s` is counted from the answer to the call before, so that nobody pays for a wait behind others.

        Raises EpisodeFailed where the worker is lost: to the first call without an answer it died or hung (its answer
        may have been under way), to all others it is lost. Raises what the method raised.
        """
        if self.lost:
            raise EpisodeFailed(WORKER_LOST, f"before {method}")
        before, self._answered = self._answered, (answered := asyncio.Event())
        try:
            reference = self.remote.submit(method, *args)
            await before.wait()
            if self.lost:
                raise EpisodeFailed(WORKER_LOST, f"before {method}")
            return await answer(reference, method, timeout_s)
        except (ActorDied, ActorTimeout) as error:
            self.lost = True
            raise EpisodeFailed(WORKER_DIED if isinstance(error, ActorDied) else ENV_TIMEOUT, str(error)) from error
        finally:
            answered.set()


class Episode:
    """One episode in one worker, as the driver sees it; an async context that gives its place back."""

    def __init__(self, pool: "EnvPool", slot: int, worker: Worker, number: int) -> None:
        self._pool, self._slot, self._worker, self._number = pool, slot, worker, number

    async def reset(self, task_id: str, seed: int) -> EnvStep:
        return await self._call("reset", task_id, seed)

    async def step(self, action: str) -> EnvStep:
        return await self._call("step", action)

    async def _call(self, method: str, *args: Any) -> EnvStep:
        try:
            return await self._worker.call(method, self._number, *args, timeout_s=self._pool.config.timeout_s)
        except EpisodeFailed:
            self._pool.replace(self._slot, self._worker)
            raise
        except EnvError as error:
            raise EpisodeFailed("env_error", str(error)) from error

    async def __aenter__(self) -> "Episode":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.leave(self._slot, self._worker, self._number)


class EnvPool:
    """Hands out episodes to the least busy worker; a worker that died or hung is killed and started anew."""

    def __init__(self, config: PoolConfig) -> None:
        self.config = config
        self._workers = [self._spawn() for _ in range(config.workers)]
        self._load = [0] * config.workers
        self._episodes = 0

    def episode(self) -> Episode:
        slot = min(range(len(self._load)), key=lambda index: self._load[index])
        self._load[slot] += 1
        self._episodes += 1
        return Episode(self, slot, self._workers[slot], self._episodes)

    def leave(self, slot: int, worker: Worker, number: int) -> None:
        self._load[slot] -= 1
        if self._workers[slot] is worker:
            worker.remote.submit("release", number)

    def replace(self, slot: int, worker: Worker) -> None:
        """Start a new worker in the place of `worker`; later reports of the same death change nothing."""
        if self._workers[slot] is worker:
            worker.remote.kill()
            self._workers[slot] = self._spawn()

    def close(self) -> None:
        for worker in self._workers:
            worker.remote.kill()

    def _spawn(self) -> Worker:
        path = [folder or os.getcwd() for folder in (*sys.path, "")]  # a user's own world is found as it was here
        environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(path)}
        return Worker(spawn(WORKER, self.config.world, self.config.options, spec=ActorSpec(env=environment)))
