"""Shortest paths and Bellman values on the graph of a group's states. The only file of this room that knows scipy."""
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, eye_array
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import splu


def steps_to(goal: int, source: NDArray[np.int64], target: NDArray[np.int64], nodes: int) -> NDArray[np.float64]:
    """Length of the shortest path from each node [nodes] to `goal` along edges source -> target [E]; inf if none."""
    backwards = csr_array((np.ones(len(source)), (target, source)), shape=(nodes, nodes))
    return np.asarray(dijkstra(backwards, indices=goal, unweighted=True), dtype=np.float64)


def fixed_point(
    weight: NDArray[np.float64], source: NDArray[np.int64], target: NDArray[np.int64], gain: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The solution V [S] of a Bellman equation:

    V = W V + gain

    W       sum of `weight` [E] at (source, target); from every state some path of edges must lead to a row of W
            that sums to less than 1, or the solution is not unique
    gain    float64 [S]
    """
    states = len(gain)
    moves = csc_array((weight, (source, target)), shape=(states, states))
    return np.asarray(splu(csc_array(eye_array(states) - moves)).solve(gain), dtype=np.float64)
