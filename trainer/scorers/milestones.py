"""Milestones: a step earns what it adds to the sub-goals that the world counts."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge

from envs.base import Env
from estimators.options import check_options
from trainer.scorers.base import Rollouts, StepRewards


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestones:
    """The world's milestones as rewards:

        r_t = weight * (m_t - m_{t-1})

        m_t  milestones that the rollout has reached after step t; 0 before the first

    Assumes that a milestone lies on every good way. One that is a detour is paid all the same.
    Reading: BEACON (2605.06078) pays a milestone to all steps of the segment before it; here its step alone earns it,
        and the estimator spreads it.
    Diagnostics: `milestones`, the mean number that a rollout reached.
    Raises ValueError for an option out of range, and for a step that tells no milestone.
    """

    weight: Annotated[float, Ge(0)] = 1.0
    """What a milestone is worth, in units of reward."""

    def __post_init__(self) -> None:
        check_options(self)

    def check(self, env: Env, task_id: str) -> None:
        if env.reset(task_id).milestone is None:
            raise ValueError("needs milestones, and the world counts none: choose another scorer")

    def __call__(self, rollouts: Rollouts, /) -> StepRewards:
        gained: list[int] = []
        before = 0
        for row in rollouts.table:
            if row.step.milestone is None:
                raise ValueError(f"row {len(gained)} tells no milestone: choose another scorer")
            before = before if row.time else 0
            gained.append(row.step.milestone - before)
            before = row.step.milestone
        per_rollout = sum(gained) / len({row.trajectory for row in rollouts.table})
        return StepRewards(value=self.weight * np.array(gained, np.float64), diagnostics={"milestones": per_rollout})
