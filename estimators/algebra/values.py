"""Values of the states of each group's graph, solved exactly."""

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.graph import fixed_point
from estimators.algebra.returns import at_next
from estimators.algebra.sets import Sets, changes, cut
from estimators.base import StepBatch

_END = -1
"""Stands for a state where the rollout is over."""
_DENSE = 128
"""Groups with at most so many states are solved as full matrices, many at once; larger ones as sparse ones."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def next_values(batch: StepBatch, states: Sets, ends: Floats, gamma: float) -> Floats:
    """V(s') [N], the value of the state after each row (2609.35082 eq. 8; 2609.35084):

    V(s) = gamma * mean of V(s') over the visits to s

    states  the rows cut by group and state
    ends    [M], what the end of each rollout is worth; a rollout's last row leads there
    """
    target = at_next(batch, states.label, _END)
    end = np.where(target == _END, ends[batch.rollouts.label], 0.0)
    discount = np.full(len(batch.groups.size), gamma)
    value = shrunk_values(batch, states, gamma * end, discount)
    return np.where(target == _END, end, value[target])


def shrunk_values(
    batch: StepBatch,
    states: Sets,
    reward: Floats,
    discount: Floats,
    *,
    kin: float = 0.0,
    root: float = 0.0,
    expected: float = 0.0,
) -> Floats:
    """V [S] of each state, drawn to what led there:

    V(s) = [sum over visits of (r + gamma V(s')) + kin * sum over p of (V(p) - r_p) + root * expected] / weight
    weight = visits + kin * number of p + root

    states    the rows cut by group and state
    reward    [N], of each row
    discount  [groups], gamma of each group
    p         the states other than s that some rollout of the group came to s from; r_p the mean reward on the way
    root      counts, and `expected` with it, where a rollout begins in s
    """
    total = len(states.size)
    order = batch.rollouts.order  # sums run along it, so that neither the order of rows nor other groups change a bit
    source, child = states.label[order], at_next(batch, states.label, _END)[order]
    inner = child != _END
    edge, place, times = np.unique(source[inner] * total + child[inner], return_inverse=True, return_counts=True)
    parent, heir = np.divmod(edge, total)
    other = kin * (parent != heir)
    paid = np.bincount(place, reward[order][inner], len(edge)) / times
    starts = np.zeros(total)
    starts[states.label[batch.rollouts.firsts()]] = root
    weight = states.size + np.bincount(heir, other, total) + starts
    gain = np.bincount(source, reward[order], total) - np.bincount(heir, other * paid, total) + expected * starts
    of_state = batch.groups.label[states.firsts()]
    return _solved(
        np.concatenate([discount[of_state[parent]] * times / weight[parent], other / weight[heir]]),
        np.concatenate([parent, heir]),
        np.concatenate([heir, parent]),
        gain / weight,
        of_state,
    )


def _solved(weight: Floats, source: Ints, target: Ints, gain: Floats, group: Ints) -> Floats:
    """V = W V + gain [S] with `weight` [E] at (source, target), each group [S] on its own."""
    order = np.argsort(group, kind="stable")
    states_of = cut(order, changes(group[order]))
    local = np.empty_like(order)  # number of each state inside its group
    local[order] = np.arange(len(order)) - states_of.start[group[order]]
    edge_group = group[source]
    value = np.empty_like(gain)
    for size in np.unique(states_of.size).tolist():
        chosen = states_of.size == size
        numbers = np.cumsum(chosen) - 1  # of each group among those of this size
        own = order[np.repeat(chosen, states_of.size)].reshape(-1, size)  # [groups of this size, states]
        edges = np.flatnonzero(chosen[edge_group])
        if size > _DENSE:
            for states in own:
                mine = edges[edge_group[edges] == group[states[0]]]
                value[states] = fixed_point(weight[mine], local[source[mine]], local[target[mine]], gain[states])
            continue
        cell = (numbers[edge_group[edges]] * size + local[source[edges]]) * size + local[target[edges]]
        moves = np.bincount(cell, weight[edges], len(own) * size * size).reshape(-1, size, size)
        value[own] = np.linalg.solve(np.eye(size) - moves, gain[own][..., None])[..., 0]
    return value
