"""The rollouts of one update, with their revisions: played when they are needed, or while the learner is at work."""

import asyncio
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from rollout.collect import Collected
from rollout.collection import PlayOptions
from rollout.retry import retry
from rollout.revise import Revised, revise
from rollout.seats import EnginesLost
from rollout.seeds import derive_seed
from rollout.types import Task, Trajectory
from trainer.data.difficulty import Difficulty
from trainer.data.tasks import spare_tasks, training_tasks
from trainer.report.stopwatch import Stopwatch
from trainer.setup.parts import Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What an update learns from."""

    collected: Collected
    """The rollouts, with their revisions if there was a revision phase."""
    revised: Revised | None
    """What the revision phase did; None where the estimator needs no revisions."""
    seconds: float
    """Wall seconds of the rollouts, without their revisions."""
    ahead: bool = False
    """Whether they were played before the update began, by the policy before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """What is needed to play the rollouts of one update."""

    parts: Parts
    """Who plays."""
    number: int
    """The update, from 1."""
    difficulty: Difficulty
    """How often each task was solved before."""
    revisions: bool
    """Whether failed rollouts are revised or retried."""
    on_done: Callable[[Trajectory], None] = lambda _: None
    """Called with each finished rollout."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    """Takes the time of the laps "collect" and "revise"."""

    async def gathered(self) -> Gathered:
        """Play the rollouts. Raises RolloutsFailed and EnginesLost."""
        with self.watch("collect"):
            collected = await self._collected()
        seconds = self.watch.laps["collect"]
        if not self.revisions:
            return Gathered(collected=collected, revised=None, seconds=seconds)
        with self.watch("revise"):
            revised = await self._revised(collected)
        return Gathered(collected=replace(collected, groups=revised.groups), revised=revised, seconds=seconds)

    async def _collected(self) -> Collected:
        parts = self.parts
        tasks, spares = self._tasks()
        collected = await parts.collector.collect(
            tasks, spares=spares, group_size=parts.config.group_size, options=self._options("sampling", self.on_done)
        )
        return collected.checked()

    async def _revised(self, collected: Collected) -> Revised:
        parts = self.parts
        config, options = parts.config.revise, self._options("revisions")
        again = revise if config.mode == "revise" else retry
        return await again(parts.collector, collected.groups, config=config, options=options)

    def _options(self, purpose: str, on_done: Callable[[Trajectory], None] = lambda _: None) -> PlayOptions:
        config = self.parts.config
        return PlayOptions(
            sampling=config.sampling,
            seed=derive_seed(config.seed, purpose, self.number),
            max_idle_turns=config.max_idle_turns,
            on_done=on_done,
        )

    def _tasks(self) -> tuple[list[Task], list[Task]]:
        """The tasks of the update, and those that may replace them."""
        config, ids, update = self.parts.config, self.parts.world.train, self.number - 1
        groups, most = config.groups_per_update, config.max_groups_tried or config.groups_per_update
        if config.task_choice == "difficulty":
            tasks = self.difficulty.tasks(ids, seed=config.seed, update=update, count=most)
            return tasks[:groups], tasks[groups:]
        own = training_tasks(ids, seed=config.seed, update=update, groups=groups)
        return own, spare_tasks(ids, seed=config.seed, update=update, groups=groups, count=most - groups)


class Ahead:
    """Plays the rollouts of the next update in a thread while the learner works on this one.

    The weights are not published before those rollouts have ended: all tokens of a rollout are of one policy, one
    version older than the policy that learns from them. An engine that is lost meanwhile cannot be replaced, because
    the learner, which would send it the weights, is at work. The rollouts are then played when they are needed, with
    the same seeds.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._next: _Playing | None = None

    def start(self, gathering: Gathering) -> None:
        """Begin to play the rollouts of an update."""
        self._next = _Playing(gathering, self._thread)

    def wait(self) -> None:
        """Return once nothing is being played. What failed is raised by `take`."""
        if self._next is not None:
            wait([self._next.rollouts])

    def take(self, number: int) -> Gathered | None:
        """The rollouts of an update; None where they were not begun, or were lost with an engine."""
        playing, self._next = self._next, None
        if playing is None:
            return None
        assert playing.number == number, f"update {playing.number} was played ahead, and {number} is asked for"
        with suppress(EnginesLost):
            return replace(playing.rollouts.result(), ahead=True)
        return None

    def close(self) -> None:
        """End what is being played."""
        if self._next is not None:
            self._next.cancel()
        self._thread.shutdown()


class _Playing:
    """Rollouts that are being played in a thread."""

    def __init__(self, gathering: Gathering, thread: ThreadPoolExecutor) -> None:
        self.number = gathering.number
        self._begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Gathered] | None]] = Future()
        self.rollouts: Future[Gathered] = thread.submit(lambda: asyncio.run(self._gathered(gathering)))

    async def _gathered(self, gathering: Gathering) -> Gathered:
        self._begun.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        with gathering.parts.engines.none_replaced():
            return await gathering.gathered()

    def cancel(self) -> None:
        """Return once it has ended."""
        either: list[Future[Any]] = [self._begun, self.rollouts]
        wait(either, return_when=FIRST_COMPLETED)
        if self._begun.done():  # else no loop could be made
            loop, task = self._begun.result()
            if task is not None:
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(task.cancel)
        wait([self.rollouts])
