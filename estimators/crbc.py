"""CRBC: Bellman values of the observed behaviour on the graph of a group's states, solved exactly (2609.35082)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from estimators.algebra.returns import outcomes
from estimators.algebra.sets import moments
from estimators.algebra.states import States, visits
from estimators.algebra.values import next_values
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Crbc(Grpo):
    """CRBC, on the graph of a group's states (2609.35082 eq. 8, 9, 13, 14):

        A       = A_E + omega * (Q(s, a) - V(s)) / max(sigma(s), floor)
        V(s)    = gamma * mean of V(s') over the visits to s
        Q(s, a) = gamma * mean of V(s') over the visits to s that took a

        A_E    the episode term of `Grpo`
        V      solves its equations exactly, for each group on its own
        s'     the state after the visit; the end is worth the rollout's outcome over success_reward
        sigma  standard deviation of Q over the visits to s

    Limiting cases:
        omega = 0: GRPO.
        s saw one action: the step term is 0.
    Assumes that the graph is the world: what two rollouts did after one state is exchangeable.
    Reading: a graded outcome counts in proportion; the paper's outcomes are 1 and 0.
    Diagnostics: `flat_group_share`; `contrast_share`, the share of rows whose state saw two actions or more.
    Raises ValueError for an option out of range.
    """

    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.98
    """Discount per step."""
    omega: Annotated[float, Ge(0)] = 5.0
    """Weight of the step term."""
    floor: Annotated[float, Ge(1e-6)] = 0.1
    """Smallest divisor of the step term."""
    success_reward: Annotated[float, Ge(1e-6)] = 10.0
    """What the environment pays over a rollout that succeeds."""
    state: States = "observation"
    """What counts as one state: an equal observation, or an equal history of observations and actions."""

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        anchors = visits(batch, self.state)
        alike = anchors.split(batch.keys)
        ahead = self.gamma * next_values(batch, anchors, outcomes(batch) / self.success_reward, self.gamma)
        action_value = alike.mean(ahead)[alike.label]
        stats = moments(anchors, action_value, "mean")
        gain = action_value - stats.mean[anchors.label]
        sigma = np.sqrt(anchors.mean(gain * gain))
        contrast = anchors.size[anchors.label] > alike.size[alike.label]
        step = gain / np.maximum(sigma, self.floor)[anchors.label]
        diagnostics["contrast_share"] = float(contrast.mean())
        value = episode + self.omega * np.where(contrast & stats.signal[anchors.label], step, 0.0)
        return Advantages(value=value, diagnostics=diagnostics)
