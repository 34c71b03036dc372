"""The direction that each group's credit gives the policy gradient, against the true gradient of its task."""

import numpy as np
from numpy.typing import NDArray

from trainer.lab.measure.jackknife import BLOCKS, KEPT, ConfidenceInterval, jackknife
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
        self._task, self._policy, self._truth = task_of_group, policy, truth
        self._length = np.sqrt((truth * truth).sum((1, 2)))[task_of_group]
        self._block = np.arange(len(task_of_group)) // rows.per_block
        self._tally = np.ravel_multi_index(
            (self._block[rows.group], rows.task, rows.state, rows.action), (BLOCKS, *truth.shape)
        )

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
        product, square = self._products(credit)
        length = np.sqrt(square) * self._length
        return np.divide(product, length, out=np.zeros_like(product), where=length > SMALLEST)

    def means(self, credit: Floats, size: int) -> dict[str, ConfidenceInterval]:
        """Fields of `TruthComparison` on the mean gradient m of a task's groups of `size` rollouts, mean over tasks.

        With T the true gradient of the task and G the gradient of one group, over `size`:

            mean_cosine       = <m, T> / (|m| |T|), cut to [-1, 1], since |m| is an estimate
            gradient_error    = |m - T| / |T|
            gradient_variance = c^2 (E |G|^2 - |m|^2) / |T|^2    with c = <m, T> / |m|^2

        |m|^2 is estimated from products of different groups, because the square of a mean contains a part of the
        variance. NaN where no task has a true gradient; mean_cosine and gradient_variance also where m is
        statistically 0.
        """
        product, square = (part / size**power for power, part in enumerate(self._products(credit), start=1))
        summed = np.bincount(self._tally, credit / size, BLOCKS * self._truth.size).reshape(BLOCKS, *self._truth.shape)
        summed -= summed.sum(-1, keepdims=True) * self._policy
        energy = (self._truth * self._truth).sum((1, 2))
        tasks = np.flatnonzero(np.sqrt(energy) > SMALLEST)
        numbers = np.full((3, len(tasks), len(KEPT)), np.nan)
        for place, task in enumerate(tasks):
            of_task = self._task == task

            def kept(value: Floats, of_task: NDArray[np.bool_] = of_task) -> Floats:
                return KEPT @ np.bincount(self._block[of_task], value[of_task], BLOCKS)

            groups, along, squares = kept(np.ones_like(square)), kept(product), kept(square)
            total = KEPT @ summed[:, task].reshape(BLOCKS, -1)
            m = ((total * total).sum(1) - squares) / (groups * groups - groups)
            along, squares = along / groups, squares / groups
            seen = np.where(m > SMALLEST**2, m, np.nan)
            numbers[0, place] = np.clip(along / np.sqrt(seen * energy[task]), -1.0, 1.0)
            numbers[1, place] = np.sqrt(np.maximum(m - 2.0 * along + energy[task], 0.0) / energy[task])
            numbers[2, place] = (along / seen) ** 2 * (squares - m) / energy[task]
        names = ("mean_cosine", "gradient_error", "gradient_variance")
        undefined = np.full(len(KEPT), np.nan)
        return {
            name: jackknife(by_task.mean(0) if len(tasks) else undefined)
            for name, by_task in zip(names, numbers, strict=True)
        }

    def _products(self, credit: Floats) -> tuple[Floats, Floats]:
        """<G, truth> and |G|^2 of every group."""
        product = np.bincount(self._group, credit * self._slope)
        act, visit = np.bincount(self._act, credit), np.bincount(self._visit, credit)
        squared = np.bincount(self._visit_of_act, act * act - 2.0 * self._chance * act * visit[self._visit_of_act])
        squared += visit * visit * self._square
        lengths = np.bincount(self._group_of_visit, squared)
        return np.asarray(product, np.float64), np.maximum(lengths, 0.0, dtype=np.float64)
