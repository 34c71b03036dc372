"""REINFORCE++: returns standardised over the whole batch instead of inside a group (2501.03262)."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from estimators.algebra.returns import EpisodeStats, Penalty, episode_returns, group_moments
from estimators.algebra.sets import cut, moments, relative
from estimators.base import Advantages, Needs, StepBatch
from estimators.options import check_options

Baseline = Literal["none", "group"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforcePp:
    """REINFORCE++, one number for every step of a rollout (2501.03262):

        A = (R - mean) / std                  baseline="none"
        A = (R - mean_g) / std(R - mean_g)    baseline="group"

        R          the rollout's undiscounted return
        mean, std  over the batch
        mean_g     mean of R over the group

    Limiting cases:
        one group in the batch: both baselines are GRPO.
        baseline="group": a group without spread gets 0.
    Assumes that tasks are alike enough to share one baseline; with "group" they share the scale only.
    We differ: rollouts (or rows) count once each, where the paper weighs them by their tokens.
    Diagnostics: `batch_std`, what deviations are divided by; with baseline="group" `flat_group_share`, the share of
        groups without spread of R.
    Raises ValueError for an option out of range.
    """

    baseline: Baseline = "none"
    """What is subtracted from R: the batch's mean, or first the group's."""
    episode_stats: EpisodeStats = "trajectory"
    """Count a rollout once in all statistics, or once per step row."""
    penalty: Penalty = "return"
    """An invalid response costs `invalid_penalty` as a reward, or on its own row after returns are computed."""
    invalid_penalty: Annotated[float, Ge(0)] = 0.1
    """What an invalid response costs, in units of reward."""

    @property
    def needs(self) -> Needs:
        return Needs(group_based=self.baseline == "group")

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        returns = episode_returns(batch, self.penalty, self.invalid_penalty)
        rollout, row = returns.rollout, returns.row
        diagnostics: dict[str, float] = {}
        if self.baseline == "group":
            stats = group_moments(batch, returns, "mean", self.episode_stats)
            row = relative(row, batch.groups.label, stats)
            rollout = relative(rollout, batch.siblings.label, stats)
            diagnostics["flat_group_share"] = stats.flat_share
        counted = row[batch.rollouts.order] if self.episode_stats == "row" else rollout
        everything = cut(np.arange(len(counted)), np.arange(len(counted)) == 0)
        whole = moments(everything, counted, "mean_std")
        # The mean of deviations is 0 up to rounding, and rounding must not reach the groups that are exactly 0.
        mean = whole.mean[0] if self.baseline == "none" else 0.0
        value = (row - mean) / whole.scale[0] if whole.signal[0] else np.zeros(len(batch))
        return Advantages(value=value, diagnostics={**diagnostics, "batch_std": float(whole.scale[0])})
