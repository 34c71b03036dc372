"""RLOO: a rollout's return minus the mean return of the other rollouts of its group (2402.14740)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from estimators.algebra.returns import EpisodeStats, Penalty, episode_returns, group_moments
from estimators.algebra.sets import Singleton
from estimators.base import Advantages, Needs, StepBatch
from estimators.options import check_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Rloo:
    """REINFORCE with a leave-one-out baseline (2402.14740 eq. 8):

        A_i = R_i - mean_{j != i} R_j = n / (n - 1) * (R_i - mean_g)

        R_i     undiscounted return of rollout i
        mean_g  mean of R over the group
        n       rollouts of the group; with episode_stats="row", its step rows

    Limiting cases:
        n = 2: the difference of the two returns.
    Assumes that all steps of a rollout deserve equal credit. Unbiased, unlike GRPO, since a rollout is not part of
    its own baseline.
    We differ: with `singleton="raw"` a set of one keeps its own R, as in the public GiGPO code; the default is 0.
    Diagnostics: `flat_group_share`, the share of groups without spread of R.
    Raises ValueError for an option out of range.
    """

    episode_stats: EpisodeStats = "trajectory"
    """Compare with the other rollouts, or with the other step rows of the group."""
    penalty: Penalty = "return"
    """An invalid response costs `invalid_penalty` as a reward, or on its own row after returns are computed."""
    invalid_penalty: Annotated[float, Ge(0)] = 0.1
    """What an invalid response costs, in units of reward."""
    singleton: Singleton = "zero"
    """What a set of one is worth: 0, or its raw return as in the public GiGPO code."""

    needs: ClassVar[Needs] = Needs(group_based=True)

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        returns = episode_returns(batch, self.penalty, self.invalid_penalty)
        stats = group_moments(batch, returns, "mean", self.episode_stats, self.singleton)
        by_rollout = self.episode_stats == "trajectory"
        counted = returns.rollout[batch.rollouts.label] if by_rollout else returns.row  # [N], what the mean counts
        n = (batch.siblings if by_rollout else batch.groups).size
        factor = n / np.maximum(n - 1, 1)
        label = batch.groups.label
        against_others = factor[label] * (counted - stats.mean[label])
        value = np.where(stats.signal[label], against_others + (returns.row - counted), 0.0)
        return Advantages(value=value, diagnostics={"flat_group_share": stats.flat_share})
