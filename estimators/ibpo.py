"""IBPO: a failure that a revision repairs is worth more, and only its revised steps are blamed (2605.16302)."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Interval

from estimators.algebra.columns import refuse
from estimators.algebra.returns import succeeded
from estimators.algebra.sets import relative
from estimators.base import Advantages, Needs, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Ibpo(Grpo):
    """IBPO (2605.16302): GRPO of a return that rises where revisions repaired a failure:

        A  = (R' - mean_g) / std_g
        R' = R + boost * success_reward * s      on a failed rollout
        R' = R                                   on a successful one

        R              the rollout's undiscounted return
        s              the column `repair`, made by the revision phase: min(1, 0.5 * revisions that succeeded)
        mean_g, std_g  mean and sample standard deviation of R' over the group

    Mask, False where a row gives no gradient:
        a failed rollout with s > 0: its rows that are not `edited`.
        a failed rollout: its rows with A > 0. Without this a group of failures would reinforce the edited error.

    A rollout failed if its environment rewards sum to less than success_reward.

    Limiting cases:
        no repairs, or boost = 0: the advantages of GRPO.
    Assumes that a failure one edit away from success is a near miss, and that the edit is where it went wrong.
    Reading: graded outcomes below full marks failed. boost = 0.6, so that no failure outranks a success where outcomes
        are all or nothing.
    Diagnostics: `flat_group_share`; over rollouts `success_share` (p), `repaired_share` (f) and, over the repaired
        ones, `repair_mean` (s); `variance_bound` = boost * s / 2 * (1 - f), where a larger p means that the group's
        variance falls; `masked_share` of rows.
    Raises ValueError for an option out of range, for a batch without `repair` or `edited`, and for a successful rollout
        with repair above 0.
    """

    boost: Annotated[float, Interval(ge=0, le=1)] = 0.6
    """Share of the reward of a success that a fully repaired failure gains."""
    success_reward: Annotated[float, Ge(1e-6)] = 10.0
    """What the environment pays over a rollout that succeeds."""

    @property
    def needs(self) -> Needs:
        return Needs(columns=frozenset({"repair", "edited"}), group_based=True)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        repair, edited = batch.needed("repair", "ibpo"), batch.needed("edited", "ibpo")
        failed = ~succeeded(batch, self.success_reward)
        row_failed = failed[batch.rollouts.label]
        refuse("repair", repair, ~row_failed & (repair > 0.0), "on a rollout that succeeded: only failures are revised")
        share = repair[batch.rollouts.firsts()]  # s of each rollout [M]
        returns, stats = self.compared(batch, self.boost * self.success_reward * share)
        value = relative(returns.row, batch.groups.label, stats)
        mask = ~row_failed | ((edited | (repair == 0.0)) & (value <= 0.0))
        repaired = share > 0.0
        mean = float(share[repaired].mean()) if repaired.any() else 0.0
        diagnostics = {
            "flat_group_share": stats.flat_share,
            "success_share": float((~failed).mean()),
            "repaired_share": float(repaired.mean()),
            "repair_mean": mean,
            "variance_bound": self.boost * mean / 2.0 * (1.0 - float(repaired.mean())),
            "masked_share": float((~mask).mean()),
        }
        return Advantages(value=value, mask=mask, diagnostics=diagnostics)
