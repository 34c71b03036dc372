"""Returns: of the whole episode, and to go from each step, with the penalty for invalid responses in either place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.base import StepBatch
from estimators.options import EpisodeStats, Penalty
from estimators.sets import Moments, Norm, moments


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EpisodeReturns:
    """R of each rollout, float64 [M], and of each row, float64 [N] (its rollout's, less its own row penalty)."""

    rollout: NDArray[np.float64]
    row: NDArray[np.float64]


def rewards(batch: StepBatch, penalty: Penalty, invalid_penalty: float) -> NDArray[np.float64]:
    """The step's reward [N]; with penalty="return" an invalid response costs `invalid_penalty` here."""
    return batch.reward - _cost(batch, invalid_penalty) if penalty == "return" else batch.reward


def row_penalty(batch: StepBatch, penalty: Penalty, invalid_penalty: float) -> NDArray[np.float64]:
    """What a row's own R and G lose [N] after returns are computed; 0 unless penalty="row" (the public GiGPO code)."""
    return _cost(batch, invalid_penalty) if penalty == "row" else np.zeros(len(batch))


def _cost(batch: StepBatch, invalid_penalty: float) -> NDArray[np.float64]:
    return np.where(batch.invalid, invalid_penalty, 0.0)


def episode_returns(batch: StepBatch, penalty: Penalty, invalid_penalty: float) -> EpisodeReturns:
    """R = sum of rewards, undiscounted (2505.10978 sec. 3)."""
    rollout = batch.rollouts.sum(rewards(batch, penalty, invalid_penalty))
    row = rollout[batch.rollouts.label] - row_penalty(batch, penalty, invalid_penalty)
    return EpisodeReturns(rollout=rollout, row=row)


def returns_to_go(batch: StepBatch, gamma: float, penalty: Penalty, invalid_penalty: float) -> NDArray[np.float64]:
    """G_t = r_t + gamma * G_{t+1} [N] (2505.10978 eq. 5).

    By doubling: after pass k a row holds the first 2^k terms of its sum, so a rollout of T steps takes log2(T) passes
    over the columns and no loop over rows or time.
    """
    sets = batch.rollouts
    total = rewards(batch, penalty, invalid_penalty)[sets.order]
    after = (sets.size[sets.label] - 1 - batch.time)[sets.order]  # steps of the rollout still to come
    reach, weight = 1, gamma
    while reach < sets.size.max():
        rows = np.flatnonzero(after >= reach)
        total[rows] += weight * total[rows + reach]
        reach, weight = 2 * reach, weight * weight
    result = np.empty(len(batch))
    result[sets.order] = total
    return result - row_penalty(batch, penalty, invalid_penalty)


def group_moments(batch: StepBatch, returns: EpisodeReturns, norm: Norm, episode_stats: EpisodeStats) -> Moments:
    """Moments of R per group: each rollout counted once ("trajectory", the papers) or once per step row ("row").

    With "trajectory" a row penalty shifts the row's own R and stays out of the statistics (reading: a rollout has one
    R). A group of one rollout has no signal in either mode; the public code lets its raw return through.
    """
    siblings = batch.siblings
    if episode_stats == "trajectory":
        return moments(siblings, returns.rollout, norm)
    by_row = moments(batch.groups, returns.row, norm)
    return Moments(mean=by_row.mean, scale=by_row.scale, signal=by_row.signal & (siblings.size > 1))
