"""TOLL: values on the graph of a group's states, with the price of a step and the role of chance read from it."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Interval
from numpy.typing import NDArray

from estimators.algebra.returns import at_next, discounted, rewards
from estimators.algebra.sets import Sets, moments
from estimators.algebra.states import States, visits
from estimators.algebra.values import shrunk_values
from estimators.base import Advantages, Needs, StepBatch
from estimators.options import check_options

Floats = NDArray[np.float64]

PRIOR_DISCOUNT = 0.9
"""The discount of a group that says nothing about the price of a step."""
PRIOR_WEIGHT = 60.0
"""What `PRIOR_DISCOUNT` weighs, in squared steps times successes."""
DISCOUNTS = (0.5, 0.97)
"""Bounds of the measured discount; above the upper one a loop would cost nothing."""
PRIOR_RETURN = 0.5
"""The return that is expected of a task before it is tried, in units of success."""
FLOOR = 0.05
"""Smallest standard deviation of a state that credit is scaled up by."""
CHANCE = 4.0
"""How much faster a state loses its scale than a test of its spread against chance would say."""
LONE = 2.0
"""Weight of a step from a state where one action was seen, against one that is compared with another action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toll:
    """TOLL (time-priced outcomes of linked rollouts), our own, on the graph of a group's states:

        A      = A_S + outcome * (R - mean_g) + row * (y - Q(s, a))
        A_S    = (Q(s, a) - mean_s Q) * (w_s / sqrt(max(sigma_s, 0.05)) + 1 - w_s)    s saw two actions or more
        A_S    = 2 (Q(s, a) - V(s))                                                   s saw one
        y      = r + gamma_g V(s');    Q(s, a) its mean over the visits that took a
        V(s)   = [sum over visits of y + kin * sum over p of (V(p) - r_p)] / (visits + kin * number of p)

        gamma_g  1 + slope of the return to go on the turn, between visits to one state of the group, over the return
        p        states that led to s, without s itself; r_p the mean reward on the way
        sigma_s  standard deviation of Q over the visits to s
        w_s      share of the spread of y in s that lies between actions and not between visits of one action
        mean_g   mean return of the group and of `root` further rollouts of return 0.5; so is V where rollouts begin
        R, r     over success_reward, less penalties

    `docs/estimators.md` derives it. The constants of this file are no options: one choice serves all worlds of the lab.

    Limiting cases:
        omega = 0, root = 0: GRPO with norm="mean", times outcome / success_reward.
        gamma set, kin = root = outcome = row = 0: where s saw two actions, the step term of CRBC times a positive
            factor for each state.
        a group of one rollout: 0.
    Assumes that equal texts are equal states, of which `row` takes back a part.
    A group without spread of R gets credit too, unless root = 0 and gamma = 1: all of it failed, or won, for a reason.
    Diagnostics: `flat_group_share`; `step_price`, the mean of 1 - gamma_g; `contrast_share`, the share of rows whose
        state saw two actions or more; `chance_share`, the mean of 1 - w_s over these rows.
    Raises ValueError for an option out of range.
    """

    omega: Annotated[float, Ge(0)] = 1.0
    """Weight of the step terms, A_S and the one of `row`."""
    outcome: Annotated[float, Ge(0)] = 0.2
    """Weight of the rollout's return."""
    row: Annotated[float, Interval(ge=0, le=1)] = 0.4
    """How far a step is judged by where it led itself, and not by where its action led on the mean."""
    kin: Annotated[float, Ge(0)] = 0.5
    """Visits that one way into a state is worth when its value is estimated."""
    root: Annotated[float, Ge(0)] = 1.0
    """Rollouts that the expectation of a task is worth before it is tried."""
    gamma: Annotated[float, Interval(ge=0, le=1)] | None = None
    """Discount per step; None measures it in each group."""
    success_reward: Annotated[float, Gt(0)] = 10.0
    """What the environment pays over a rollout that succeeds."""
    state: States = "observation"
    """What counts as one state: an equal observation, or an equal history of observations and actions."""
    invalid_penalty: Annotated[float, Ge(0)] = 0.1
    """What an invalid response costs, in units of reward."""

    @property
    def needs(self) -> Needs:
        return Needs(group_based=True)

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        reward = rewards(batch, "return", self.invalid_penalty) / self.success_reward
        anchors = visits(batch, self.state)
        discount = self._discounts(batch, anchors, reward)
        value = shrunk_values(batch, anchors, reward, discount, kin=self.kin, root=self.root, expected=PRIOR_RETURN)
        arrival = reward + discount[batch.groups.label] * at_next(batch, value[anchors.label], 0.0)
        alike = anchors.split(batch.keys)
        quality = alike.mean(arrival)[alike.label]
        contrast = anchors.size[anchors.label] > alike.size[alike.label]
        factor, share = _scale(batch, anchors, alike, arrival, quality)
        against_others = (quality - anchors.mean(quality)[anchors.label]) * factor[anchors.label]
        step = np.where(contrast, against_others, LONE * (quality - value[anchors.label]))
        rollout = batch.rollouts.sum(reward)
        siblings, order = batch.siblings, batch.rollouts.order
        expected = (siblings.sum(rollout) + self.root * PRIOR_RETURN) / (siblings.size + self.root)
        surprise = (rollout - expected[siblings.label])[batch.rollouts.label]
        credit = self.omega * (step + self.row * (arrival - quality)) + self.outcome * surprise
        return Advantages(
            value=np.where(siblings.size[batch.groups.label] > 1, credit, 0.0),
            diagnostics={
                "flat_group_share": moments(siblings, rollout, "mean").flat_share,
                "step_price": float(1.0 - discount.mean()),
                "contrast_share": float(contrast.mean()),
                "chance_share": float(((1.0 - share)[anchors.label] * contrast)[order].sum() / max(contrast.sum(), 1)),
            },
        )

    def _discounts(self, batch: StepBatch, anchors: Sets, reward: Floats) -> Floats:
        """gamma_g of each group:

        1 - gamma = sum (t - t_s) (G_s - G) / sum (t - t_s)^2 G_s, drawn to 0.1 by a weight of 60 and cut to [0.03, 0.5]

        t_s and G_s, the mean turn and the mean undiscounted return to go of the visits to s; G_s below 0 counts as 0.
        """
        groups = batch.groups
        if self.gamma is not None:
            return np.full(len(groups.size), self.gamma)
        time, future = batch.time.astype(np.float64), discounted(batch, reward, 1.0)
        later = time - anchors.mean(time)[anchors.label]
        usual = anchors.mean(future)[anchors.label]
        change = groups.sum(later * (future - usual)) + PRIOR_WEIGHT * (PRIOR_DISCOUNT - 1.0)
        return np.clip(1.0 + change / (groups.sum(later * later * np.maximum(usual, 0.0)) + PRIOR_WEIGHT), *DISCOUNTS)


def _scale(batch: StepBatch, anchors: Sets, alike: Sets, arrival: Floats, quality: Floats) -> tuple[Floats, Floats]:
    """The factor of a difference between actions and the share w of each state [S].

        w      = B / (B + 4 (m - 1) s^2)
        factor = w / sqrt(max(sqrt(B / n), 0.05)) + 1 - w

    B    sum of squares of Q around its mean, over the n visits; m the actions that they took
    s^2  (C + c) / (n - m + 1), with C the sum of squares of y around Q in the state, and c the same per degree of
         freedom in the whole group: what chance makes of one action
    """
    of_group = batch.groups.label[anchors.firsts()]
    actions = anchors.sum(1.0 / alike.size[alike.label])
    gain = quality - anchors.mean(quality)[anchors.label]
    between, within = anchors.sum(gain * gain), (arrival - quality) ** 2
    free = anchors.size - actions
    pooled = batch.groups.sum(within) / np.maximum(batch.groups.sum((free / anchors.size)[anchors.label]), 1.0)
    chance = (anchors.sum(within) + pooled[of_group]) / (free + 1.0)
    noise = CHANCE * np.maximum(actions - 1.0, 0.0) * chance
    share = between / np.maximum(between + noise, 1e-12)
    spread = np.maximum(np.sqrt(between / anchors.size), FLOOR)
    return share / np.sqrt(spread) + 1.0 - share, share
