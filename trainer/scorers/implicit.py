"""Implicit step rewards: the log-ratio of a copy of the policy that learns which rollouts are better (2509.19199)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray
from scipy.special import expit

from estimators.algebra.sets import NO_SPREAD
from estimators.options import check_options
from trainer.data.tokens import offsets
from trainer.scorers.base import Rollouts, StepRewards

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImplicitReward:
    """Implicit step rewards, iStar (2509.19199; its first version calls the method OPRL):

        r_t  = weight * beta * (log phi(a_t | s_t) - log pi(a_t | s_t))
        loss = - mean over pairs of log sigmoid(m_ij)
        m_ij = sum_t r_t of rollout i - sum_t r_t of rollout j,    without weight

        phi   a copy of the policy as it was at the start of the run, trained by the loss in every update
        pi    the policy before the update
        a_t   the tokens of a response, whose log-probs are summed
        i, j  two rollouts of a group, where the world paid i more than j

    Limiting cases:
        no pair, as where all rollouts of each group earn the same: phi does not learn.
    Assumes that what better rollouts do more often than worse ones is what made them better.
    Reading: phi learns from an update's rollouts before it rewards them. All pairs of a group with unequal returns
        count alike, whatever the difference.
    We differ: each of the `steps` optimizer steps is taken on all pairs of an update together.
    Diagnostics: `pairs`; where there are some, `pair_accuracy`, the share of them that phi ranked correctly before it
        learned from them (a tie counts half), and `grad_norm`, the mean of its steps, not finite if one was skipped.
    Raises ValueError for an option out of range.
    """

    trains_twin: ClassVar[bool] = True

    beta: Annotated[float, Gt(0)] = 0.05
    """Scale of the log-ratio, in the rewards and in the margins that phi learns from."""
    learning_rate: Annotated[float | None, Gt(0)] = None
    """Learning rate of phi; null takes that of the policy after its warm-up."""
    steps: Annotated[int, Ge(1)] = 1
    """Optimizer steps of phi in an update. Each takes a pass with gradients and one without over all tokens."""
    weight: Annotated[float, Gt(0)] = 1.0
    """What a step reward counts beside the world's rewards. istar, which normalises step rewards, does not see it."""

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, rollouts: Rollouts, /) -> StepRewards:
        twin, policy = rollouts.twin, rollouts.logprobs
        if twin is None or policy is None:
            raise ValueError("implicit needs a copy of the policy, which only a training run has")
        table, count = rollouts.table, len(rollouts.played)
        trajectory = np.array([row.trajectory for row in table])
        starts = offsets(table.response_lens)[:-1]
        better, worse = preferences(rollouts)

        def rewards() -> Floats:
            return self.beta * np.add.reduceat(twin.logprobs().astype(np.float64) - policy, starts)

        reward = rewards()
        total = summed(trajectory, reward, count)
        margin = total[better] - total[worse]
        if not len(margin):
            return StepRewards(value=self.weight * reward, diagnostics={"pairs": 0.0})
        right = float((margin > 0).mean() + 0.5 * (margin == 0).mean())
        norms: list[float] = []
        for _ in range(self.steps):
            credit = self.beta * preference_credit(summed(trajectory, reward, count), better, worse)
            norms.append(twin.ascend(credit[trajectory]))
            reward = rewards()
        diagnostics = {"pairs": float(len(margin)), "pair_accuracy": right, "grad_norm": float(np.mean(norms))}
        return StepRewards(value=self.weight * reward, diagnostics=diagnostics)


def preferences(rollouts: Rollouts) -> tuple[Ints, Ints]:
    """The better and the worse rollout of every pair of a group whose returns differ, by the world's rewards. [P], [P]

    They are numbered as `RowTable` numbers them. Retries are in no pair: their first steps were given to them. Returns
    that differ by rounding alone are equal.
    """
    better: list[int] = []
    worse: list[int] = []
    first = 0
    for group in rollouts.groups:
        paid = np.array([sum(step.reward for step in one.steps) for one in group.trajectories])
        rounding = NO_SPREAD * max(1.0, np.abs(paid).max())
        above, below = np.nonzero(paid[:, None] > paid[None, :] + rounding)
        better += (first + above).tolist()
        worse += (first + below).tolist()
        first += len(paid)
    return np.array(better, np.int64), np.array(worse, np.int64)


def preference_credit(total: Floats, better: Ints, worse: Ints) -> Floats:
    """The gradient [M] of mean log sigmoid(total_i - total_j) over the P pairs, with respect to `total` [M]."""
    doubt = expit(total[worse] - total[better]) / len(better)
    return summed(better, doubt, len(total)) - summed(worse, doubt, len(total))


def summed(label: Ints, value: Floats, count: int) -> Floats:
    """The sum [count] of the values of each label. [N], [N]"""
    return np.bincount(label, value, count).astype(np.float64)
