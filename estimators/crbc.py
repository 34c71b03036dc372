"""CRBC: Bellman values of the behaviour seen on the group's merged state graph, by one linear solve (2609.35082)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.graph import fixed_point
from estimators.algebra.returns import at_next, outcomes
from estimators.algebra.sets import Sets, changes, cut, moments
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo

END = -1  # in place of a state: the rollout is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Crbc(Grpo):
    """A = A_E + omega * (Q(s, a) - V(s)) / max(sigma(s), floor), 0 where s saw one action (2609.35082 eq. 13, 14).

    V = gamma * mean V(s') over the visits to s, solved exactly per group (eq. 8, 9), the end being worth the rollout's
    outcome over `success_reward` (the paper's 1 and 0; reading: a graded outcome counts in proportion). Q is the same
    mean over the visits that took the action, sigma the std of Q over the visits. gamma 0.98, omega 5, floor 0.1.
    Assumes the graph is the world: what two rollouts did after one state is exchangeable.
    Diagnostics: `flat_group_share`, `contrast_share`, rows whose state saw two actions or more.
    """

    gamma: float = 0.98
    omega: float = 5.0
    floor: float = 0.1
    success_reward: float = 10.0

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        anchors = batch.anchors
        alike = anchors.split(batch.keys)
        ahead = self._ahead(batch, anchors)
        action_value = alike.mean(ahead)[alike.label]
        stats = moments(anchors, action_value, "mean")
        gain = action_value - stats.mean[anchors.label]
        sigma = np.sqrt(anchors.mean(gain * gain))
        contrast = anchors.size[anchors.label] > alike.size[alike.label]
        step = gain / np.maximum(sigma, self.floor)[anchors.label]
        diagnostics["contrast_share"] = float(contrast.mean())
        value = episode + self.omega * np.where(contrast & stats.signal[anchors.label], step, 0.0)
        return Advantages(value=value, diagnostics=diagnostics)

    def _ahead(self, batch: StepBatch, anchors: Sets) -> NDArray[np.float64]:
        """gamma * value of where each row led [N]: of the next state, or of the rollout's outcome."""
        outcome = (outcomes(batch) / self.success_reward)[batch.rollouts.label]
        target = at_next(batch, anchors.label, END)
        ended = np.where(target == END, outcome, 0.0)
        value = np.empty(len(anchors.size))
        group = batch.groups.label[anchors.firsts()]
        order = np.argsort(group, kind="stable")
        states_of = cut(order, changes(group[order]))
        local = np.empty_like(order)  # number of each state inside its group
        local[order] = np.arange(len(order)) - states_of.start[group[order]]
        for states, rows in zip(states_of.parts(), batch.groups.parts(), strict=True):
            inner = rows[target[rows] != END]
            source = anchors.label[inner]
            # One group at a time and in canonical order: the solution is the same to the last bit whatever the order
            # of the rows and whatever other groups are there.
            value[states] = fixed_point(
                self.gamma / anchors.size[source],
                local[source],
                local[target[inner]],
                self.gamma * np.bincount(local[anchors.label[rows]], ended[rows]) / anchors.size[states],
            )
        return self.gamma * np.where(target == END, outcome, value[target])
