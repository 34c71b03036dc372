"""REINFORCE++: returns whitened over the whole batch, not inside a group (2501.03262)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from estimators.algebra.returns import episode_returns, group_moments
from estimators.algebra.sets import cut, moments, relative
from estimators.base import Advantages, StepBatch
from estimators.options import EpisodeStats, Penalty, check_options

Baseline = Literal["none", "group"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforcePp:
    """A = (R - mean) / std over the batch; `baseline="group"` takes the group's mean off R first (2501.03262).

    Assumes that tasks are alike enough to share one baseline; with "group" only the scale is shared, and groups
    without spread get 0. We differ: rollouts (or rows) are counted once, where the paper weighs them by tokens.
    Diagnostics: `batch_std`, what the deviations are divided by; `flat_group_share` with baseline="group".
    """

    baseline: Baseline = "none"
    episode_stats: EpisodeStats = "trajectory"
    penalty: Penalty = "return"
    invalid_penalty: float = 0.1

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def group_based(self) -> bool:
        return self.baseline == "group"

    def __call__(self, batch: StepBatch, /) -> Advantages:
        returns = episode_returns(batch, self.penalty, self.invalid_penalty)
        rollout, row = returns.rollout, returns.row
        diagnostics: dict[str, float] = {}
        if self.baseline == "group":
            stats = group_moments(batch, returns, "mean", self.episode_stats)
            row = relative(row, batch.groups.label, stats)
            rollout = relative(rollout, batch.siblings.label, stats)
            diagnostics["flat_group_share"] = float((~stats.signal).mean())
        counted = row[batch.rollouts.order] if self.episode_stats == "row" else rollout
        everything = cut(np.arange(len(counted)), np.arange(len(counted)) == 0)
        whole = moments(everything, counted, "mean_std")
        # A mean of deviations is 0 but for rounding, which must not reach the groups that are exactly 0.
        mean = whole.mean[0] if self.baseline == "none" else 0.0
        value = (row - mean) / whole.scale[0] if whole.signal[0] else np.zeros(len(batch))
        return Advantages(value=value, diagnostics={**diagnostics, "batch_std": float(whole.scale[0])})
