"""Env workers: a few processes without torch, each of which holds many episodes."""

import asyncio
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from envs import make
from envs.base import Env, EnvError, EnvStep
from rollout.actor_spec import ActorSpec, Limit
from rollout.ray_actors import ActorDied, ActorTimeout, Remote, answer, gather, spawn

WORKER = "rollout.pool:EnvWorker"
"""The class that a worker process holds."""

# Why an episode failed, as it is counted and logged.
WORKER_DIED = "worker_died"
"""Its own call killed the worker."""
ENV_TIMEOUT = "env_timeout"
"""Its own call hung the worker."""
WORKER_LOST = "worker_lost"
"""Another episode's call killed or hung the worker that both were in."""
ENV_ERROR = "env_error"
"""The world could not go on: broken data, a task id it does not have."""


class EpisodeFailed(RuntimeError):
    """An episode could not be played to its end: what failed was the world or the policy's server."""

    def __init__(self, reason: str, detail: str, *, final: bool = False) -> None:
        """reason: a short name, by which failures are counted. final: a second try would ask for the same."""
        super().__init__(f"{reason}: {detail}")
        self.reason, self.final = reason, final


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """Which world the workers play, and how many workers there are."""

    world: str
    """As for `envs.make`."""
    options: Mapping[str, Any]
    """Of the world, as for `envs.make`."""
    workers: int
    """Processes."""
    timeout_s: float = 60.0
    """Seconds that a worker may take for one call; then it counts as hung."""


class EnvWorker:
    """The inside of a worker process: the environments of its episodes, by episode number.

    An environment is used for one episode after another until it raises.
    """

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
        """Never reuse an environment that raised: it may have stopped halfway through a turn."""
        try:
            yield
        except Exception:
            self._playing.pop(episode, None)
            raise


class Worker:
    """The driver's handle of one worker process, which answers one call at a time, in the order of the calls."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.lost = False
        """The process died, or was found hung."""
        self._answered = asyncio.Event()  # set when the latest call is answered
        self._answered.set()

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        """Call a method of the worker and wait for its answer. Raises what the method raises.

        timeout_s: counted from the answer to the previous call on this worker, so time in the queue does not count.
        Raises EpisodeFailed if the worker is gone. The first call without an answer gets WORKER_DIED or ENV_TIMEOUT,
        even if its answer was on its way when the worker died; every other call gets WORKER_LOST.
        """
        if self.lost:
            raise EpisodeFailed(WORKER_LOST, f"before {method}")
        previous, self._answered = self._answered, (answered := asyncio.Event())
        try:
            call = self.remote.submit(method, *args)
            await previous.wait()
            if self.lost:
                raise EpisodeFailed(WORKER_LOST, f"before {method}")
            return await answer(call, timeout_s)
        except (ActorDied, ActorTimeout) as error:
            self.lost = True
            raise EpisodeFailed(WORKER_DIED if isinstance(error, ActorDied) else ENV_TIMEOUT, str(error)) from error
        finally:
            answered.set()


class Episode:
    """The driver's handle of one episode in one worker. As an async context it gives its place back at the end."""

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
            raise EpisodeFailed(ENV_ERROR, str(error)) from error

    async def __aenter__(self) -> "Episode":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.leave(self._slot, self._worker, self._number)


def worker_env() -> dict[str, str]:
    """The environment of a process that holds worlds. PYTHONPATH is this process's, which finds a user's own world."""
    path = [folder or os.getcwd() for folder in (*sys.path, "")]
    return {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(path)}


class EnvPool:
    """Gives each episode to the least busy worker. Replaces a worker that died or hung."""

    def __init__(self, config: PoolConfig) -> None:
        self.config = config
        self._workers = [self._spawn(slot) for slot in range(config.workers)]
        self._load = [0] * config.workers
        self._episodes = 0

    @property
    def remotes(self) -> list[Remote]:
        """The workers as they are now."""
        return [worker.remote for worker in self._workers]

    def episode(self) -> Episode:
        """A new episode, not yet reset."""
        slot = min(range(len(self._load)), key=lambda index: self._load[index])
        self._load[slot] += 1
        self._episodes += 1
        return Episode(self, slot, self._workers[slot], self._episodes)

    def leave(self, slot: int, worker: Worker, number: int) -> None:
        """Free the place of an episode that has ended or failed."""
        self._load[slot] -= 1
        if self._workers[slot] is worker:
            worker.remote.submit("release", number)

    def replace(self, slot: int, worker: Worker) -> None:
        """Kill `worker` and start another in its slot, once: later reports of the same loss change nothing."""
        if self._workers[slot] is worker:
            worker.remote.kill()
            self._workers[slot] = self._spawn(slot)

    def renewed(self) -> Self:
        """This pool for another run: the workers hold environments of no episode.

        Raises ActorDied or ActorTimeout where a worker is gone or hangs.
        """
        settings = self.config.world, self.config.options
        gather([worker.remote.renew(*settings) for worker in self._workers], self.config.timeout_s)
        self._load = [0] * self.config.workers
        return self

    def close(self) -> None:
        """Kill all workers."""
        for worker in self._workers:
            worker.remote.kill()

    def _spawn(self, slot: int) -> Worker:
        limit = Limit(seconds=self.config.timeout_s, setting="rollout.env_timeout_s")
        spec = ActorSpec(name=f"env worker {slot}", env=worker_env(), folder=os.getcwd(), limit=limit)
        return Worker(spawn(WORKER, self.config.world, self.config.options, spec=spec))
