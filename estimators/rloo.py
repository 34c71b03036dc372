"""RLOO: a rollout's return against the mean of the others in its group (2402.14740)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from estimators.algebra.returns import episode_returns, group_moments
from estimators.algebra.sets import Lone
from estimators.base import Advantages, StepBatch
from estimators.options import EpisodeStats, Penalty, check_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Rloo:
    """A_i = R_i - mean of the other rollouts' R = n / (n - 1) * (R_i - mean_g) (2402.14740 eq. 8).

    Unbiased where GRPO is not, since i stays out of its own baseline. With `episode_stats="row"` the others are the
    other step rows of the group; `lone="raw"` leaves a set of one its own R, as the public code does.
    Diagnostics: `flat_group_share`, groups without spread of R.
    """

    episode_stats: EpisodeStats = "trajectory"
    penalty: Penalty = "return"
    invalid_penalty: float = 0.1
    lone: Lone = "zero"

    group_based: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        returns = episode_returns(batch, self.penalty, self.invalid_penalty)
        stats = group_moments(batch, returns, "mean", self.episode_stats, self.lone)
        by_rollout = self.episode_stats == "trajectory"
        counted = returns.rollout[batch.rollouts.label] if by_rollout else returns.row  # [N], what the mean counts
        n = (batch.siblings if by_rollout else batch.groups).size
        factor = n / np.maximum(n - 1, 1)
        label = batch.groups.label
        against_others = factor[label] * (counted - stats.mean[label])
        value = np.where(stats.signal[label], against_others + (returns.row - counted), 0.0)
        return Advantages(value=value, diagnostics={"flat_group_share": float((~stats.signal).mean())})
