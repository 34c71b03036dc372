"""Policy x env -> trajectories: one asyncio task per rollout, no barrier between rollouts."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated

from annotated_types import Ge, Interval, doc

from envs.base import Ending, EnvStep
from envs.prompts import Prompter, Turn
from rollout.policy import Exchange, Key, Policy, PromptTooLong
from rollout.pool import ENV_TIMEOUT, WORKER_DIED, WORKER_LOST, EnvPool, Episode, EpisodeFailed
from rollout.seeds import derive_seed
from rollout.types import RolloutGroup, Sampling, Step, Trajectory
from rollout.waves import WavePolicy

TOO_LONG = "prompt_too_long"  # the one reason that a second try would only repeat


class RolloutsFailed(RuntimeError):
    """Too many rollouts could not be played; the message counts them by reason and tells the last one's story."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task instance to roll out. `number` orders tasks of one collection; `seed` is the world's."""

    number: int
    task_id: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One rollout to play, as number `sibling`. key: its own, what the keys of its requests begin with.

    told: the task as the prompts put it, in the place of the world's first observation; None: as the world puts it.
    """

    task: Task
    sibling: int
    key: Key
    told: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """How rollouts are played and what happens when one fails."""

    history: Annotated[int, Ge(0), doc("0 (no past turn) or more")]
    """Number of past turns that a prompt shows. Follows env.history."""

    success_reward: Annotated[float, Interval(gt=0, lt=math.inf)] = 10.0
    """Training reward of the step that solves the task. All other steps get 0."""

    retries: Annotated[int, Ge(0)] = 2
    """How often a failed episode is played again from its seed before its group is dropped. Episodes of one task that
    kill or hang their worker share these retries; other episodes of that worker are played again free of charge."""

    max_failure_share: Annotated[float, Interval(ge=0, le=1)] = 0.25
    """Largest share of dropped groups in one collection. Above it the run stops."""

    env_timeout_s: Annotated[float, Interval(gt=0, lt=math.inf)] = 60.0
    """Seconds that a worker may spend in one reset or step, its start included. After that it counts as hung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Finished groups in task order, what failed by reason (retried or dropped), and wall seconds.

    cut_prompts: those that were shortened to fit; cut_actions: those among them that left out admissible actions.
    """

    groups: tuple[RolloutGroup, ...]
    failures: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    dropped_groups: int = 0
    cut_prompts: int = 0
    cut_actions: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Rollouts in the order of their jobs, None where one failed for good; the rest as in `Collected`."""

    rollouts: tuple[Trajectory | None, ...]
    failures: Mapping[str, int]
    last_failure: str
    cut_prompts: int
    cut_actions: int
    seconds: float


@dataclass(slots=True)
class _Tally:
    """workers_lost: by number of the task whose episode a worker was at when it died or hung. dropped: task numbers."""

    failures: Counter[str] = field(default_factory=Counter[str])
    workers_lost: Counter[int] = field(default_factory=Counter[int])
    dropped: set[int] = field(default_factory=set[int])
    last_failure: str = ""
    cut_prompts: int = 0
    cut_actions: int = 0


class Collector:
    """Consumes tasks, waits for policies and worlds, produces groups. `on_done` hears of every finished rollout."""

    def __init__(
        self, *, policy: Policy, pool: EnvPool, prompter: Prompter, config: RolloutConfig, deterministic: bool = False
    ) -> None:
        self._policy, self._pool, self._prompter, self._config = policy, pool, prompter, config
        self._deterministic = deterministic

    async def collect(
        self,
        tasks: Sequence[Task],
        *,
        group_size: int,
        sampling: Sampling,
        seed: int,
        patience: int | None = None,
        on_done: Callable[[Trajectory], None] = lambda _: None,
    ) -> Collected:
        """Roll every task out `group_size` times. Raises RolloutsFailed once the configured failure share is passed.

        seed: of the sampling; the request of (task, sibling, step) always gets the same one.
        patience: a rollout is given up after so many turns in a row that left the state as it was; None: never.
        """
        jobs = [
            Job(task=task, sibling=sibling, key=(task.number, sibling))
            for task in tasks
            for sibling in range(group_size)
        ]
        played = await self.play(
            jobs, sampling=sampling, seed=seed, patience=patience, on_done=on_done, groups=len(tasks)
        )
        groups = _groups(tasks, played.rollouts, group_size)
        return Collected(
            groups=groups,
            failures=played.failures,
            dropped_groups=len(tasks) - len(groups),
            cut_prompts=played.cut_prompts,
            cut_actions=played.cut_actions,
            seconds=played.seconds,
        )

    async def play(
        self,
        jobs: Sequence[Job],
        *,
        sampling: Sampling,
        seed: int,
        patience: int | None = None,
        on_done: Callable[[Trajectory], None] = lambda _: None,
        groups: int | None = None,
    ) -> Played:
        """Play every job to its end, or out of `patience`.

        seed: of the sampling; a request's own follows from it and the request's key.
        groups: of how many tasks not more than the configured share may fail for good; None: any number may.
        """
        began = time.perf_counter()
        tally = _Tally()
        policy = self._policy_for(len(jobs))
        run = _Run(policy, self._pool, self._prompter, self._config, sampling, seed, patience, groups)
        playing = [asyncio.create_task(run.rollout(job, tally, on_done)) for job in jobs]
        try:
            done = await asyncio.gather(*playing)
        finally:
            for one in playing:
                one.cancel()
        return Played(
            rollouts=tuple(done),
            failures=MappingProxyType(dict(tally.failures)),
            last_failure=tally.last_failure,
            cut_prompts=tally.cut_prompts,
            cut_actions=tally.cut_actions,
            seconds=time.perf_counter() - began,
        )

    def _policy_for(self, rollouts: int) -> Policy:
        if not self._deterministic:
            return self._policy
        waves = WavePolicy(self._policy)  # pyright: ignore[reportArgumentType]  the config admits engines only
        waves.enter(rollouts)
        return waves


@dataclass(frozen=True, slots=True)
class _Run:
    """What all rollouts of one collection share."""

    policy: Policy
    pool: EnvPool
    prompter: Prompter
    config: RolloutConfig
    sampling: Sampling
    seed: int
    patience: int | None
    groups: int | None

    async def rollout(self, job: Job, tally: _Tally, on_done: Callable[[Trajectory], None]) -> Trajectory | None:
        """Play one rollout to its end, again from its seed if the world failed; None when it failed for good.

        Bystanders of a lost worker cannot go round for ever: every loss is charged to one task, and a task that has
        spent its tries is not begun again.
        """
        own, task = 0, job.task.number
        try:
            while max(own, tally.workers_lost[task]) <= self.config.retries:
                try:
                    async with self.pool.episode() as episode:
                        trajectory = await self._play(episode, job, tally)
                except EpisodeFailed as error:
                    tally.failures[error.reason] += 1
                    if error.reason == WORKER_LOST:
                        continue
                    tally.last_failure = f"{error} (task {job.task.task_id})"
                    if error.reason == TOO_LONG:
                        break
                    own += 1
                    tally.workers_lost[task] += error.reason in (WORKER_DIED, ENV_TIMEOUT)
                else:
                    on_done(trajectory)
                    return trajectory
            return self._drop(task, tally)
        finally:
            if isinstance(self.policy, WavePolicy):
                self.policy.leave()

    def _drop(self, task: int, tally: _Tally) -> None:
        tally.dropped.add(task)
        if self.groups is not None and len(tally.dropped) > self.config.max_failure_share * self.groups:
            raise RolloutsFailed(
                f"{len(tally.dropped)} of {self.groups} groups dropped ({dict(tally.failures)}; the last: "
                f"{tally.last_failure}), more than rollout.max_failure_share={self.config.max_failure_share}: mend it "
                "or raise the share"
            )

    async def _play(self, episode: Episode, job: Job, tally: _Tally) -> Trajectory:
        first = await episode.reset(job.task.task_id, job.task.seed)
        if job.told is not None:
            first = replace(first, observation=job.told)
        now = first
        turns: list[Turn] = []
        steps: list[Step] = []
        before: Exchange | None = None
        idle = 0  # turns in a row that changed nothing
        while now.ending is None and idle != self.patience:
            before = await self._ask(first, turns, now, before, (*job.key, len(steps)), tally)
            said = before.completion
            reply = self.prompter.parse(said.text, now)
            after = await episode.step(reply.action)
            steps.append(
                Step(
                    observation=now.observation,
                    completion=said,
                    action=reply.action,
                    valid=reply.valid,
                    reward=self.config.success_reward if after.won else 0.0,
                    state_key=now.state_key,
                )
            )
            listed = self.prompter.listed(now)
            turns.append(Turn(observation=now.observation, response=said.text, action=reply.action, listed=listed))
            idle = idle + 1 if after.state_key == now.state_key else 0
            now = after
        return Trajectory(
            task_id=job.task.task_id,
            sibling=job.sibling,
            seed=job.task.seed,
            steps=tuple(steps),
            ending=now.ending or Ending.STUCK,
            success=now.won,
            score=now.score,
        )

    async def _ask(
        self,
        first: EnvStep,
        turns: Sequence[Turn],
        now: EnvStep,
        before: Exchange | None,
        key: Key,
        tally: _Tally,
    ) -> Exchange:
        """Ask with the configured history and all actions, and with less of both while the prompt is too long."""
        seed = derive_seed(self.seed, *key)
        least = min(self.config.history, self.prompter.least_history)
        most = min(self.config.history, max(least, len(turns)))
        listed = len(self.prompter.listed(now))
        too_long: PromptTooLong | None = None
        for history, actions in _sizes(most, least, listed):
            messages = self.prompter.render(first=first, turns=turns, now=now, history=history, actions=actions)
            try:
                said = await self.policy.complete(messages, before, sampling=self.sampling, seed=seed, key=key)
            except PromptTooLong as error:
                too_long = error
                continue
            tally.cut_prompts += (history, actions) != (most, listed)
            tally.cut_actions += actions < listed
            return Exchange(messages=messages, completion=said)
        raise EpisodeFailed(TOO_LONG, str(too_long)) from too_long


def _sizes(most: int, least: int, listed: int) -> Iterable[tuple[int, int]]:
    """(past turns, actions listed) of ever shorter prompts: less history first, then fewer actions, by eighths."""
    histories = ((history, listed) for history in range(most, least - 1, -1))
    fewer = ((least, listed * eighths // 8) for eighths in range(7, -1, -1))
    return dict.fromkeys((*histories, *fewer))


def _groups(tasks: Sequence[Task], done: Sequence[Trajectory | None], group_size: int) -> tuple[RolloutGroup, ...]:
    """Whole groups in task order; a group with a failed rollout is left out."""
    groups: list[RolloutGroup] = []
    for number, task in enumerate(tasks):
        members = done[number * group_size : (number + 1) * group_size]
        trajectories = tuple(member for member in members if member is not None)
        if len(trajectories) == group_size:
            groups.append(RolloutGroup(task_id=task.task_id, seed=task.seed, trajectories=trajectories))
    return tuple(groups)
