"""The true advantage of recorded turns, estimated: the policy goes on from every state of the recorded rollouts."""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from envs.prompts import Message
from rollout.collect import Collector
from rollout.collection import Job, PlayOptions
from rollout.policy import Exchange, Key, Policy, Session
from rollout.types import Completion, RolloutGroup, Sampling, Task, Trajectory
from rollout.usage import EngineUsage
from trainer.config.build import ConfigError
from trainer.data.rows import trajectories

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Continued:
    """The estimated advantage of N recorded rows, in units of reward."""

    advantage: Floats
    """float64 [N]. Reward of the turn, and what comes after it, less what came from its state on."""

    error: Floats
    """float64 [N]. Standard error of the advantage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a rollout did until some turn."""

    task_id: str
    """The world's name of the task."""

    seed: int
    """Of the world's episode."""

    steps: tuple[tuple[int, ...], ...]
    """The answers so far, as token ids."""


def continued(groups: Sequence[RolloutGroup], collector: Collector, options: PlayOptions, *, count: int) -> Continued:
    """Play `count` rollouts on from every state that the groups' rollouts came to.

        A_t = r_t + V_{t+1} - V_t

        V_t  mean undiscounted return of the rollouts that go on from the state before turn t; 0 after the end

    Rollouts that began with the same answers share their V. The world repeats itself, since its seed is the recorded
    one, so what the turn led to is certain. Raises ConfigError where it does not, and where a rollout fails for good.
    """
    recorded = trajectories(groups)
    first: dict[Beginning, Trajectory] = {}
    for trajectory in recorded:
        for time in range(len(trajectory.steps)):
            first.setdefault(_beginning(trajectory, time), trajectory)
    beginnings = list(first)
    answers = [
        tuple(step.completion for step in first[beginning].steps[: len(beginning.steps)]) for beginning in beginnings
    ]
    retelling = replace(collector, policy=Retelling(policy=collector.policy, answers=tuple(answers)))
    jobs = [
        Job(task=Task(number=number, task_id=beginning.task_id, seed=beginning.seed), sibling=n, key=(number, n))
        for number, beginning in enumerate(beginnings)
        for n in range(count)
    ]
    played = asyncio.run(retelling.play(jobs, options))
    returns = {
        beginning: _returns(beginning, first[beginning], played.rollouts[start : start + count])
        for beginning, start in zip(beginnings, range(0, len(jobs), count), strict=True)
    }
    rows = [_advantage(trajectory, time, returns) for trajectory in recorded for time in range(len(trajectory.steps))]
    advantage, error = np.array(rows, np.float64).T
    return Continued(advantage=advantage, error=error)


def _beginning(trajectory: Trajectory, time: int) -> Beginning:
    said = tuple(tuple(step.completion.token_ids.tolist()) for step in trajectory.steps[:time])
    return Beginning(task_id=trajectory.task_id, seed=trajectory.seed, steps=said)


def _returns(beginning: Beginning, recorded: Trajectory, played: Sequence[Trajectory | None]) -> Floats:
    """Undiscounted return [count] of each rollout from where it went on."""
    time = len(beginning.steps)
    whole = [trajectory for trajectory in played if trajectory is not None]
    if len(whole) < len(played):
        raise ConfigError(f"task {beginning.task_id!r}: {len(played) - len(whole)} of {len(played)} rollouts failed")
    for trajectory in whole:
        before, again = ([step.state_key for step in one.steps[: time + 1]] for one in (recorded, trajectory))
        if before != again:
            raise ConfigError(
                f"task {beginning.task_id!r}, seed {beginning.seed}: the same answers led to other states than were "
                "recorded, so nothing can go on from there; take a world that repeats itself, with the run's options"
            )
    return np.array([sum(step.reward for step in trajectory.steps[time:]) for trajectory in whole], np.float64)


def _advantage(trajectory: Trajectory, time: int, returns: dict[Beginning, Floats]) -> tuple[float, float]:
    """The advantage of a turn and its standard error."""
    here = returns[_beginning(trajectory, time)]
    last = time + 1 == len(trajectory.steps)
    after = np.zeros(len(here)) if last else returns[_beginning(trajectory, time + 1)]
    advantage = trajectory.steps[time].reward + after.mean() - here.mean()
    error = np.sqrt((np.var(here, ddof=1) + np.var(after, ddof=1)) / len(here))
    return float(advantage), float(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retelling:
    """A policy whose rollouts begin with recorded answers and go on with another policy's."""

    policy: Policy
    """Goes on."""

    answers: tuple[tuple[Completion, ...], ...]
    """The recorded answers, by the first part of a request's key."""

    @contextmanager
    def session(self, rollouts: int) -> Generator["RetellingSession"]:
        with self.policy.session(rollouts) as session:
            yield RetellingSession(session=session, answers=self.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetellingSession:
    """One collection of such rollouts."""

    session: Session
    """Of the policy that goes on."""

    answers: tuple[tuple[Completion, ...], ...]
    """The recorded answers, by the first part of a request's key."""

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion:
        number, *_, time = key
        if time < len(self.answers[number]):
            return self.answers[number][time]
        return await self.session.complete(messages, before, sampling=sampling, seed=seed, key=key)

    def enter(self, rollouts: int) -> None:
        self.session.enter(rollouts)

    def leave(self) -> None:
        self.session.leave()

    def usage(self) -> EngineUsage | None:
        return self.session.usage()
