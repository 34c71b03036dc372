"""A group's merged state graph, and where the page draws its nodes."""

import numpy as np
from numpy.typing import NDArray

from estimators import StepBatch
from estimators.algebra.returns import at_next
from trainer.inspect.records import GraphRecord

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SWEEPS = 4
"""Passes over the layers that move each node towards its neighbours."""


def merged_graph(batch: StepBatch, rows: Ints, text: Ints, won: NDArray[np.bool_]) -> GraphRecord:
    """The graph of one group.

    Args:
        rows: int64 [n], the group's rows of the batch, rollout by rollout.
        text: int64 [n], the place of each row's state in the group's texts.
        won: bool [n], whether the row's rollout solved the task.
    """
    after = at_next(batch, batch.anchors.label, -1)[rows]
    states, source = np.unique(batch.anchors.label[rows], return_inverse=True)
    nodes = len(states)
    ended = after == -1
    target = np.where(ended, np.where(won, nodes, nodes + 1), np.searchsorted(states, np.where(ended, 0, after)))
    layer = np.full(nodes + 2, np.inf)
    np.minimum.at(layer, source, batch.time[rows])
    layer[nodes:] = layer[:nodes].max() + 1
    names = np.zeros(nodes, np.int64)
    names[source] = text
    return GraphRecord(
        text=names.tolist(),
        layer=layer.tolist(),
        lane=lanes(layer, source, target).tolist(),
        source=source.tolist(),
        target=target.tolist(),
    )


def lanes(layer: Floats, source: Ints, target: Ints) -> Floats:
    """The place of each node across its layer, 0 in the middle and 1 apart at least.

    Nodes are ordered by the mean place of their neighbours, layer by layer, forth and back (Sugiyama's barycentres).
    """
    lane = np.zeros(len(layer))
    levels = [np.flatnonzero(layer == level) for level in np.unique(layer)]
    for level in levels:
        lane[level] = _spread(len(level))
    edges = np.unique(np.stack([source, target]), axis=1)
    for sweep in range(SWEEPS):
        for level in levels if sweep % 2 == 0 else levels[::-1]:
            wish = np.array([_barycentre(node, lane, edges) for node in level])
            lane[level[np.argsort(wish, kind="stable")]] = _spread(len(level))
    return lane


def _spread(count: int) -> Floats:
    return np.arange(count, dtype=np.float64) - (count - 1) / 2


def _barycentre(node: int, lane: Floats, edges: Ints) -> float:
    """The mean place of the node's neighbours; its own without any."""
    source, target = edges
    beside = np.concatenate([target[source == node], source[target == node]])
    beside = beside[beside != node]
    return float(lane[beside].mean()) if len(beside) else float(lane[node])
