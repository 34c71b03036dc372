"""BEACON: steps credited by how soon they reach the next sub-goal, whatever the rollout comes to (2605.06078)."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from estimators.algebra.returns import at_previous, least_to_come, row_penalty
from estimators.algebra.sets import moments, relative
from estimators.base import Advantages, Needs, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Beacon(Grpo):
    """BEACON (2605.06078):

        A     = A_E + omega * A_seg
        A_seg = (r - mean) / F
        r_t   = milestone_reward * gamma^(t_k - t)    in a segment that a milestone ends, at step t_k
        r_t   = 0                                     in a segment that no milestone ends

        A_E      the episode term of `Grpo`
        segment  the steps of a rollout that are taken with one number of milestones reached
        mean, F  of r over the steps of one group that are taken with that number

    Limiting cases:
        omega = 0: GRPO.
        no milestone in the group, with penalty="return": GRPO.
    Assumes that the milestones lie on every good way, and that reaching one sooner is better.
    Reading: milestones are counted, so two rollouts with one number may have reached different ones.
    We differ: the authors' recipe has norm="mean" in both terms, in ALFWorld gamma = 0.9 and omega = 10, and in WebShop
        an invalid penalty of 1. `penalty="row"` takes the penalty off r, as its trainer does.
    Diagnostics: `flat_group_share`; `completed_share`, the share of rows in a segment that a milestone ends;
        `milestones_mean`, the milestones that a rollout reached.
    Raises ValueError for an option out of range, and for a batch without `milestone`.
    """

    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Discount per step before the milestone."""
    omega: Annotated[float, Ge(0)] = 1.0
    """Weight of the step term."""
    milestone_reward: Annotated[float, Ge(0)] = 10.0
    """What a milestone is worth (R_ms); with norm="mean_std" and penalty="return" any value above 0 gives the same."""

    @property
    def needs(self) -> Needs:
        return Needs(columns=frozenset({"milestone"}), group_based=True)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        reached = batch.needed("milestone", "beacon")
        before = at_previous(batch, reached, 0)
        # A segment ends with its first milestone, so the next milestone of the rollout is that of the segment.
        wait = least_to_come(batch, np.where(reached > before, batch.time, np.inf)) - batch.time
        completed = np.isfinite(wait)
        credit = self.milestone_reward * np.where(completed, self.gamma ** np.where(completed, wait, 0.0), 0.0)
        credit -= row_penalty(batch, self.penalty, self.invalid_penalty)
        segments = batch.groups.split(before)
        stats = moments(segments, credit, self.norm)
        compared = batch.siblings.size[batch.groups.label[segments.firsts()]] > 1  # else there is no other rollout
        step = relative(credit, segments.label, replace(stats, signal=stats.signal & compared))
        last = batch.rollouts.order[batch.rollouts.start + batch.rollouts.size - 1]
        diagnostics["completed_share"] = float(completed.mean())
        diagnostics["milestones_mean"] = float(reached[last].mean())
        return Advantages(value=episode + self.omega * step, diagnostics=diagnostics)
