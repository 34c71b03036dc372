"""iStar: an episode term of the outcome, and a step term of a scorer's rewards (2509.19199)."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from estimators.algebra.returns import Paid, row_moments
from estimators.algebra.sets import relative
from estimators.base import Advantages, Needs, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Istar(Grpo):
    """The advantages of iStar (2509.19199), for step rewards of any scorer:

        A   = A_E + alpha * A_S
        A_S = (r_t - mean_g) / std_g

        A_E            the episode term of `Grpo`, of the world's rewards
        r_t            what the scorer gave to the step
        mean_g, std_g  of r over the group's steps

    Limiting cases:
        alpha = 0, or a scorer that gives every step the same: GRPO.
    Assumes step rewards that measure the step alone: nothing is passed on to the steps before it.
    We differ: a group whose rewards do not spread gets 0 and not rounding errors at order 1. With norm="mean" A_E is in
        units of reward, and A_S is not: step rewards have a unit of their own. The authors' code takes mean_g and std_g
        over one step of each rollout, the first that it meets.
    Diagnostics: `flat_group_share`, the share of groups without spread of R.
    Raises ValueError for an option out of range.
    """

    episode_rewards: Paid = "world"
    """Whose rewards the episode term holds: the world's alone as in the paper, or a scorer's too."""
    alpha: Annotated[float, Ge(0)] = 1.0
    """Weight of the step term."""

    @property
    def needs(self) -> Needs:
        return Needs(columns=frozenset({"step_reward"}), group_based=True)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        earned = batch.needed("step_reward", "istar")
        step = relative(earned, batch.groups.label, row_moments(batch, earned, "mean_std"))
        return Advantages(value=episode + self.alpha * step, diagnostics=diagnostics)
