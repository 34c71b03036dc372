"""A group's rollouts merged at equal states: ways to a goal and Bellman values there. The one user of scipy."""
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, eye_array
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import splu


def steps_to(goal: int, source: NDArray[np.int64], target: NDArray[np.int64], nodes: int) -> NDArray[np.float64]:
    """Steps from each node [nodes] to `goal` along the edges source -> target [E]; inf where there is no way."""
    backwards = csr_array((np.ones(len(source)), (target, source)), shape=(nodes, nodes))
    return np.asarray(dijkstra(backwards, indices=goal, unweighted=True), dtype=np.float64)


def fixed_point(
    weight: NDArray[np.float64], source: NDArray[np.int64], target: NDArray[np.int64], gain: NDArray[np.float64]
) -> NDArray[np.float64]:
    """V [S] with V = W V + gain, W the sum of `weight` [E] at (source, target); W's rows sum to less than 1 or leak."""
    states = len(gain)
    moves = csc_array((weight, (source, target)), shape=(states, states))
    return np.asarray(splu(csc_array(eye_array(states) - moves)).solve(gain), dtype=np.float64)
