"""PGPO: step credit from returns and, the more a group fails, from the rise of a state's value (2609.02236)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Interval

from estimators.algebra.returns import Penalty, at_next, discounted, rewards, row_penalty, succeeded
from estimators.algebra.sets import Norm, moments, relative
from estimators.algebra.states import States, visits
from estimators.base import Advantages, Needs, StepBatch
from estimators.options import check_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Pgpo:
    """PGPO (2609.02236):

        A     = A_S + (1 - p)^power * A_phi
        A_S   = (G - mean_s) / F_s
        A_phi = (delta - mean_s) / F_s
        delta = e + Phi(s') - Phi(s)    before the last step
        delta = r - Phi(s)              at the last step

        G            discounted return to go of the step
        Phi(s)       mean G of the group's visits to s
        r            the reward of the last step
        e            what a scorer gave to the step; 0 without one
        p            share of the group's rollouts that succeeded
        mean_s, F_s  of G or delta over the visits to s

    Limiting cases:
        p = 1: A_S alone, the step term of `Gigpo`.
        no repeated states: 0.
    Assumes that a state which leads to a good state is good, whatever the rollout came to. There is no episode term:
    with it the paper's 93.0 % fall to 87.3 %.
    Reading: gamma discounts G, and so Phi; the difference of Phi is not discounted. With norm="mean" the two terms are
        in units of reward.
    We differ: the paper has no scorer, so no e. Phi falls by what a step has earned, and e makes up for it.
    Diagnostics: `success_share`; `potential_weight`, the mean of (1 - p)^power over groups.
    Raises ValueError for an option out of range.
    """

    norm: Norm = "mean_std"
    """Divide deviations by the standard deviation or not, in both terms alike."""
    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Discount of the return to go."""
    power: Annotated[float, Interval(ge=0, le=100)] = 2.0
    """How fast the weight of A_phi falls as a group succeeds more often."""
    success_reward: Annotated[float, Ge(1e-6)] = 10.0
    """What the environment pays over a rollout that succeeds."""
    penalty: Penalty = "return"
    """An invalid response costs `invalid_penalty` as a reward, or on its own row after G and delta are computed."""
    invalid_penalty: Annotated[float, Ge(0)] = 0.1
    """What an invalid response costs, in units of reward."""
    state: States = "observation"
    """What counts as one state: an equal observation, or an equal history of observations and actions."""

    needs: ClassVar[Needs] = Needs(group_based=True)

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        reward = rewards(batch, self.penalty, self.invalid_penalty)
        cost = row_penalty(batch, self.penalty, self.invalid_penalty)
        anchors = visits(batch, self.state)
        to_go = discounted(batch, reward, self.gamma)
        potential = anchors.mean(to_go)[anchors.label]
        earned = 0.0 if batch.step_reward is None else batch.step_reward
        delta = earned + at_next(batch, potential, reward - earned) - potential
        won = succeeded(batch, self.success_reward).astype(np.float64)
        weight = (1.0 - batch.siblings.mean(won)) ** self.power  # of each group
        step, progress = (
            relative(value, anchors.label, moments(anchors, value, self.norm)) for value in (to_go - cost, delta - cost)
        )
        return Advantages(
            value=step + weight[batch.groups.label] * progress,
            diagnostics={"success_share": float(won.mean()), "potential_weight": float(weight.mean())},
        )
