"""What counts as one state: an equal observation, or an equal history of observations and actions."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.returns import at_previous
from estimators.algebra.sets import Sets
from estimators.base import StepBatch

States = Literal["observation", "history"]


def visits(batch: StepBatch, state: States) -> Sets:
    """The rows cut by group and state: the visits to each state of a group."""
    return batch.anchors if state == "observation" else batch.groups.split(history(batch))


def history(batch: StepBatch) -> NDArray[np.int64]:
    """A code [N] of all that a rollout saw and did until it took the step: s_0, a_0, s_1 ... s_t.

    Rows have equal codes where these are equal. An unparsed action equals no other, so what follows it is shared with
    no rollout. Computed by doubling: after pass k a code stands for the last 2^k states and the actions between them.
    """
    order = batch.rollouts.order
    before = at_previous(batch, _numbered(batch.keys) + 1, 0)  # 0: nothing was done yet
    code = _paired(_numbered(batch.state), before)[order]
    time = batch.time[order]
    reach, longest = 1, int(batch.rollouts.size.max())
    while reach < longest:
        earlier = np.zeros_like(code)
        earlier[reach:] = np.where(time[reach:] >= reach, code[:-reach] + 1, 0)
        code = _paired(code, earlier)
        reach *= 2
    result = np.empty_like(code)
    result[order] = code
    return result


def _numbered(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The codes [N] as 0, 1, 2 ... in their order, so that a pair of them fits an integer."""
    return np.unique(codes, return_inverse=True)[1]


def _paired(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """A code [N] per pair of codes, 0 or more each, in the order of the pairs."""
    return _numbered(first * (second.max() + 1) + second)
