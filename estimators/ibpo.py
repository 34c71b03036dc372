"""IBPO: a failure that a small revision repairs is worth more, and only the revised steps are to blame (2605.16302)."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.columns import refuse
from estimators.algebra.returns import episode_returns, group_moments, succeeded
from estimators.algebra.sets import relative
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Ibpo(Grpo):
    """GRPO of R' = R + boost * success_reward * s on failed rollouts, s the `repair` column (2605.16302).

    s = min(1, 0.5 * number of revisions that succeeded), made by the revision phase; boost 0.6, so that no failure
    outranks a success where outcomes are all or nothing. A rollout failed if its environment rewards sum to less than
    `success_reward` (reading: graded outcomes below full marks failed). Mask: on a failed rollout with s > 0 only its
    `edited` rows give gradient, and no row of a failed rollout with a positive advantage does: an all-failed group
    would reinforce the edited error.
    Assumes that a failure one edit away from success is a near miss, and that the edit is where it went wrong.

    Diagnostics: p `success_share`, f `repaired_share` and s `repair_mean` over rollouts (s over the repaired ones);
    the group's variance falls where p exceeds `variance_bound` = boost * s / 2 * (1 - f); `masked_share` of rows.
    Raises ValueError without `repair` or `edited`, and for a successful rollout with repair above 0.
    """

    boost: float = 0.6
    success_reward: float = 10.0

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"repair", "edited"})

    def __call__(self, batch: StepBatch, /) -> Advantages:
        repair, edited = batch.needed("repair", "ibpo"), batch.needed("edited", "ibpo")
        failed = ~succeeded(batch, self.success_reward)
        of_row = failed[batch.rollouts.label]
        refuse("repair", repair, ~of_row & (repair > 0.0), "on a rollout that succeeded: only failures are revised")
        share = repair[batch.rollouts.firsts()]  # s of each rollout [M]
        value, flat = self._value(batch, share)
        mask = ~of_row | ((edited | (repair == 0.0)) & (value <= 0.0))
        repaired = share > 0.0
        mean = float(share[repaired].mean()) if repaired.any() else 0.0
        diagnostics = {
            "flat_group_share": flat,
            "success_share": float((~failed).mean()),
            "repaired_share": float(repaired.mean()),
            "repair_mean": mean,
            "variance_bound": self.boost * mean / 2.0 * (1.0 - float(repaired.mean())),
            "masked_share": float((~mask).mean()),
        }
        return Advantages(value=value, mask=mask, diagnostics=diagnostics)

    def _value(self, batch: StepBatch, share: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Group-normalised R' [N], and the share of groups where it has no spread."""
        returns = episode_returns(batch, self.penalty, self.invalid_penalty)
        bonus = self.boost * self.success_reward * share
        lifted = replace(returns, rollout=returns.rollout + bonus, row=returns.row + bonus[batch.rollouts.label])
        stats = group_moments(batch, lifted, self.norm, self.episode_stats, self.lone)
        return relative(lifted.row, batch.groups.label, stats), float((~stats.signal).mean())
