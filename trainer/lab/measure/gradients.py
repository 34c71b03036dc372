"""The direction that each group's credit gives the policy gradient, against the true gradient of its task."""

import numpy as np

from trainer.lab.measure.jackknife import BLOCKS
from trainer.lab.measure.rows import SampledRows
from trainer.lab.worlds.tabular import Floats, Tabular, true_gradient

SMALLEST = 1e-12
"""A gradient that is not longer than this is no gradient."""


class Gradients:
    """Policy gradients of a tabular softmax policy, one for each group.

    The gradient that a group's credit e gives the logit of action b in state s, over the group's rows in s:

        G[s, b] = sum over rows of e (1{a = b} - policy(b | s))

    Only the states and actions that a group has visited are stored: a visit is a pair (group, state), an act a triple
    (group, state, action).
    """

    def __init__(self, world: Tabular, rows: SampledRows) -> None:
        states, slots = world.policy.shape
        truth, policy = true_gradient(world), world.policy  # [T, S, A], [S, A]
        mean = np.einsum("tsa,sa->ts", truth, policy)
        self._slope = truth[rows.task, rows.state, rows.action] - mean[rows.task, rows.state]  # d<G, truth>/de [N]
        visits, self._visit = np.unique(rows.group * states + rows.state, return_inverse=True)  # visit of each row [N]
        acts, self._act = np.unique(self._visit * slots + rows.action, return_inverse=True)  # act of each row [N]
        self._visit_of_act, slot = np.divmod(acts, slots)
        self._group_of_visit, state = np.divmod(visits, states)
        self._chance = policy[state[self._visit_of_act], slot]  # policy(b | s) of each act
        self._square = (policy * policy).sum(1)[state]  # sum over b of policy(b | s)^2 of each visit
        self._group = rows.group
        task_of_group = np.zeros(rows.group.max() + 1, np.int64)
        task_of_group[rows.group] = rows.task
        self._length = np.sqrt((truth * truth).sum((1, 2)))[task_of_group]

    def alignment(self, credit: Floats) -> Floats:
        """Mean cosine [BLOCKS] of each block's groups.

        Groups whose task has no true gradient are left out; NaN where no task has one.
        """
        directed = self._length > SMALLEST  # the same places in every block: tasks take turns in each
        if not directed.any():
            return np.full(BLOCKS, np.nan)
        return self.cosines(credit)[directed].reshape(BLOCKS, -1).mean(1)

    def cosines(self, credit: Floats) -> Floats:
        """Cosine of every group, from the credit of every row [N].

            cosine = <G, truth> / (|G| |truth|)

        0 where the group gives no gradient. |G|^2 at a visit, with act sums e_b, their sum e and p_b = policy(b | s),
        comes from

            sum over b of (e_b - e p_b)^2 = sum of (e_b^2 - 2 e_b e p_b) + e^2 sum of p_b^2
        """
        product = np.bincount(self._group, credit * self._slope)
        act, visit = np.bincount(self._act, credit), np.bincount(self._visit, credit)
        squared = np.bincount(self._visit_of_act, act * act - 2.0 * self._chance * act * visit[self._visit_of_act])
        squared += visit * visit * self._square
        length = np.sqrt(np.maximum(np.bincount(self._group_of_visit, squared), 0.0)) * self._length
        return np.divide(product, length, out=np.zeros_like(product), where=length > SMALLEST)
