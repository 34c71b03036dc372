"""Values of the states of each group's graph, solved exactly."""

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.graph import fixed_point
from estimators.algebra.returns import at_next
from estimators.algebra.sets import Sets, changes, cut
from estimators.base import StepBatch

_END = -1
"""Stands for a state where the rollout is over."""


def next_values(batch: StepBatch, states: Sets, ends: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """V(s') [N], the value of the state after each row (2609.35082 eq. 8; 2609.35084):

    V(s) = gamma * mean of V(s') over the visits to s

    states  the rows cut by group and state
    ends    [M], what the end of each rollout is worth; a rollout's last row leads there
    """
    end = ends[batch.rollouts.label]
    target = at_next(batch, states.label, _END)
    ended = np.where(target == _END, end, 0.0)
    value = np.empty(len(states.size))
    group = batch.groups.label[states.firsts()]
    order = np.argsort(group, kind="stable")
    states_of = cut(order, changes(group[order]))
    local = np.empty_like(order)  # number of each state inside its group
    local[order] = np.arange(len(order)) - states_of.start[group[order]]
    for own, rows in zip(states_of.parts(), batch.groups.parts(), strict=True):
        inner = rows[target[rows] != _END]
        source = states.label[inner]
        # One group at a time, in canonical order: so the solution does not depend on the order of the rows or on the
        # other groups, to the last bit.
        value[own] = fixed_point(
            gamma / states.size[source],
            local[source],
            local[target[inner]],
            gamma * np.bincount(local[states.label[rows]], ended[rows]) / states.size[own],
        )
    return np.where(target == _END, end, value[target])
