"""Progress attribution: the outcome divided over the steps by a linear head on hidden states (SPA-RL, 2505.20732)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Interval
from numpy.typing import NDArray

from estimators.options import check_options
from trainer.scorers.base import Rollouts, StepRewards

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Stepwise progress attribution (2505.20732):

        r_t = weight * (c_t - world_t) + grounding * g_t
        c_t = w . h_{t+1}                  before the last step
        c_T = R - sum_{t<T} c_t            at the last step

        h        the hidden state at the next step's prompt, which shows what the step led to
        w        ridge regression of R on sum_{t<T} h_{t+1}, over the rollouts of the other folds
        R        the world's rewards over the rollout
        world_t  the world's reward of the step, which c_t replaces: with weight = 1 the sum over a rollout stays R
        g_t      1 where the world understood the action

    Assumes that a state shows how near the task is to its solution, the same in every rollout.
    Reading: the paper's head is an MLP on the state and the action; the next prompt shows both and what came of them.
    We differ: the paper fits the head once, on rollouts before training; here it is fitted in each update, and never on
        the rollout that it attributes. The paper's steps sum to R up to the fit's error, here the last step takes it.
    Diagnostics: `explained`, the share of the variance of R that the head explains in rollouts that it was not fitted
        on; below 0 it is worse than the mean. Left out where all R are equal.
    Raises ValueError for an option out of range.
    """

    moves_outcome: ClassVar[bool] = True

    layer: int = -1
    """The layer whose hidden states are read, counted from the end."""
    ridge: Annotated[float, Gt(0)] = 0.1
    """Strength of the ridge, in units of the features' mean square."""
    folds: Annotated[int, Ge(2)] = 5
    """Into how many parts the rollouts are divided; the head of each is fitted on the others."""
    grounding: Annotated[float, Ge(0)] = 0.0
    """What an action that the world understood earns, in units of reward. The paper has 0.5 beside a success of 1."""
    weight: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """How much of the world's reward is divided: 1 all of it, below it a part stays where it was paid."""

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, rollouts: Rollouts, /) -> StepRewards:
        if rollouts.hidden is None:
            raise ValueError("progress needs hidden states, and there are none: let the learner keep them")
        rows = rollouts.table.rows
        trajectory = np.array([row.trajectory for row in rows])
        world = np.array([row.step.reward for row in rows])
        share, explained = attributed(rollouts.hidden, trajectory, world, ridge=self.ridge, folds=self.folds)
        valid = np.array([row.step.valid for row in rows], np.float64)
        return StepRewards(
            value=self.weight * (share - world) + self.grounding * valid,
            diagnostics={} if explained is None else {"explained": explained},
        )


def attributed(
    features: NDArray[np.floating], trajectory: NDArray[np.int64], reward: Floats, *, ridge: float, folds: int
) -> tuple[Floats, float | None]:
    """c [N], and the share of variance that is explained out of fold; None where all outcomes are equal.

    features: [N, D], of the state before each row. trajectory: int [N], 0..M-1, each one's rows together and in order
    of time. reward: float64 [N], the world's.
    """
    starts = np.flatnonzero(np.diff(trajectory, prepend=-1))
    ends = np.append(starts[1:], len(trajectory)) - 1
    outcome = np.add.reduceat(reward, starts)
    if len(starts) < 2 or np.ptp(outcome) == 0:
        return reward.copy(), None
    led_to = np.roll(_standard(features), -1, axis=0)  # [N, D + 1]
    led_to[ends] = 0.0  # nothing follows
    total = np.add.reduceat(led_to, starts)  # [M, D + 1]
    fold = np.arange(len(starts)) % min(folds, len(starts))
    share, error = np.zeros(len(trajectory)), np.zeros(len(starts))
    for part in np.unique(fold):
        head, base = _ridge(total[fold != part], outcome[fold != part], ridge)
        share = np.where(fold[trajectory] == part, led_to @ head, share)
        error = np.where(fold == part, outcome - total @ head - base, error)
    share[ends] = outcome - np.add.reduceat(share, starts)
    return share, float(1.0 - np.square(error).mean() / outcome.var())


def _standard(features: NDArray[np.floating]) -> Floats:
    """The features around their mean, at one scale, with a column of ones: a step as such may count."""
    centred = features - features.mean(0, dtype=np.float64)
    scale = np.sqrt(np.square(centred).sum(1).mean())
    return np.column_stack([centred / max(scale, 1e-12), np.ones(len(centred))])


def _ridge(total: Floats, outcome: Floats, strength: float) -> tuple[Floats, float]:
    """The weights [D] and the constant of a ridge regression, through the kernel: there are few rollouts."""
    middle, mean = total.mean(0), outcome.mean()
    centred = total - middle
    kernel = centred @ centred.T
    penalty = strength * max(float(np.trace(kernel)) / len(kernel), 1e-12)
    head = centred.T @ np.linalg.solve(kernel + penalty * np.eye(len(kernel)), outcome - mean)
    return head, float(mean - middle @ head)
