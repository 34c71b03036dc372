"""The rows of an update: one row per step, in one order, built once and handed to everything that reads rollouts.

The order is the same everywhere: by group, then by sibling, then by time; behind them the retries of all groups.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rollout.revise import edits, repairs
from rollout.types import RolloutGroup, Step, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step of a rollout as data."""

    group: int
    """Which group the step belongs to, from 0."""
    trajectory: int
    """Which trajectory the step belongs to, from 0, counted over all groups."""
    time: int
    """Which step of its trajectory this is, from 0."""
    step: Step
    """The step itself."""


class RowTable:
    """All N rows of some groups. Raises ValueError when there are none.

    What a revision phase says about the rows is computed when it is first asked for, and only once.
    """

    def __init__(self, groups: Sequence[RolloutGroup], *, retries: bool = False) -> None:
        """retries: whether those of the groups have rows too."""
        self.groups = tuple(groups)
        self.played = [(number, rollout) for number, group in enumerate(self.groups) for rollout in group.trajectories]
        """Each rollout with the number of its group, in the order of the rows."""
        if retries:
            self.played += [(n, one.trajectory) for n, group in enumerate(self.groups) for one in group.retries]
        self.rows = tuple(_rows(self.played))
        if not self.rows:
            raise ValueError("no rollouts to learn from: every group was dropped")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def steps(self) -> list[Step]:
        """The step of every row. [N]"""
        return [row.step for row in self.rows]

    @property
    def response_lens(self) -> NDArray[np.int64]:
        """Tokens of each row's response. [N]"""
        return np.array([len(step.completion.token_ids) for step in self.steps], np.int64)

    @property
    def revised(self) -> bool:
        """Whether every group went through a revision phase."""
        return all(group.revisions is not None for group in self.groups)

    @cached_property
    def edits(self) -> tuple[NDArray[np.bool_], ...] | None:
        """Per row, which of its response tokens the successful revisions changed: bool [response_len] each.

        None where no revision phase ran. The comparison costs an edit distance per successful revision.
        """
        if not self.revised:
            return None
        return tuple(mark for group in self.groups for mark in edits(group))

    @property
    def repair(self) -> NDArray[np.float64] | None:
        """Per row, the repair score s of its rollout, in [0, 1]; None where no revision phase ran. [N]"""
        if not self.revised:
            return None
        lengths = [len(trajectory.steps) for trajectory in trajectories(self.groups)]
        return np.repeat(np.concatenate([repairs(group) for group in self.groups]), lengths)


def with_step_rewards(groups: Sequence[RolloutGroup], step_reward: NDArray[np.float64]) -> tuple[RolloutGroup, ...]:
    """The groups, with the `step_reward` of each row. step_reward: float64 [N], of rollouts and then of retries."""
    values = iter(step_reward.tolist())

    def scored(rollout: Trajectory) -> Trajectory:
        return replace(rollout, steps=tuple(replace(step, step_reward=next(values)) for step in rollout.steps))

    own = [replace(group, trajectories=tuple(map(scored, group.trajectories))) for group in groups]
    return tuple(
        replace(group, retries=tuple(replace(one, trajectory=scored(one.trajectory)) for one in group.retries))
        for group in own
    )


def trajectories(groups: Sequence[RolloutGroup]) -> list[Trajectory]:
    """The trajectories of all groups, in row order."""
    return [trajectory for group in groups for trajectory in group.trajectories]


def _rows(played: Sequence[tuple[int, Trajectory]]) -> Iterator[Row]:
    """Every step as a row, rollout by rollout.

    played: each rollout with the number of its group.
    """
    for trajectory, (number, rollout) in enumerate(played):
        for time, step in enumerate(rollout.steps):
            yield Row(group=number, trajectory=trajectory, time=time, step=step)
