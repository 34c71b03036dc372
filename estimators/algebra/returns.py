"""Returns: of the whole episode, and to go from each step, with the penalty for invalid responses in either place."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.sets import Lone, Moments, Norm, moments
from estimators.base import StepBatch
from estimators.options import EpisodeStats, Penalty


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
    return batch.invalid.astype(np.float64) * invalid_penalty


def episode_returns(batch: StepBatch, penalty: Penalty, invalid_penalty: float) -> EpisodeReturns:
    """R = sum of rewards, undiscounted (2505.10978 sec. 3)."""
    rollout = batch.rollouts.sum(rewards(batch, penalty, invalid_penalty))
    row = rollout[batch.rollouts.label]
    own = row - _cost(batch, invalid_penalty) if penalty == "row" else row
    return EpisodeReturns(rollout=rollout, row=own)


def outcomes(batch: StepBatch) -> NDArray[np.float64]:
    """What the environment paid over each rollout [M], penalties left out."""
    return batch.rollouts.sum(batch.reward)


def succeeded(batch: StepBatch, success_reward: float) -> NDArray[np.bool_]:
    """Whether the environment paid each rollout [M] the reward of a success, but for rounding."""
    return outcomes(batch) >= success_reward * (1.0 - 1e-9)


def returns_to_go(batch: StepBatch, gamma: float, penalty: Penalty, invalid_penalty: float) -> NDArray[np.float64]:
    """G_t = r_t + gamma * G_{t+1} [N] (2505.10978 eq. 5)."""
    future = discounted(batch, rewards(batch, penalty, invalid_penalty), gamma)
    return future - _cost(batch, invalid_penalty) if penalty == "row" else future


def discounted(batch: StepBatch, value: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Sum of gamma^k * value_{t+k} [N] over the rest of each rollout.

    By doubling: after pass k a row holds the first 2^k terms of its sum, so a rollout of T steps takes log2(T) passes
    over the columns and no loop over rows or time.
    """
    total = value[batch.rollouts.order]
    weight = gamma
    for reach, within in _doubling(batch):
        later = total[reach:] * weight
        later *= within
        total[:-reach] += later
        weight *= weight
    return _by_row(batch, total)


def least_to_come(batch: StepBatch, value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimum of value_u [N] over u >= t of each rollout, by the same doubling."""
    least = value[batch.rollouts.order]
    for reach, within in _doubling(batch):
        least[:-reach] = np.where(within, np.minimum(least[:-reach], least[reach:]), least[:-reach])
    return _by_row(batch, least)


def at_next(batch: StepBatch, value: NDArray[Any], end: Any) -> NDArray[Any]:
    """`value` [N] one step later in the same rollout, `end` (a number or [N]) at its last step."""
    sets = batch.rollouts
    later = np.roll(value[sets.order], -1)
    last = sets.start + sets.size - 1
    later[last] = np.broadcast_to(end, value.shape)[sets.order[last]]
    return _by_row(batch, later)


def at_previous(batch: StepBatch, value: NDArray[Any], start: Any) -> NDArray[Any]:
    """`value` [N] one step earlier in the same rollout, the number `start` at its first step."""
    sets = batch.rollouts
    earlier = np.roll(value[sets.order], 1)
    earlier[sets.start] = start
    return _by_row(batch, earlier)


def _doubling(batch: StepBatch) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """(reach, whether the place `reach` later in rollout order is of the same rollout [N - reach]), reach 1, 2, 4..."""
    sets = batch.rollouts
    after = (sets.size[sets.label] - 1 - batch.time)[sets.order]  # steps of the rollout still to come
    longest = sets.size.max()
    reach = 1
    while reach < longest:
        yield reach, after[:-reach] >= reach
        reach *= 2


def _by_row(batch: StepBatch, ordered: NDArray[Any]) -> NDArray[Any]:
    result = np.empty_like(ordered)
    result[batch.rollouts.order] = ordered
    return result


def group_moments(
    batch: StepBatch, returns: EpisodeReturns, norm: Norm, episode_stats: EpisodeStats, lone: Lone = "zero"
) -> Moments:
    """Moments of R per group: each rollout counted once ("trajectory", the papers) or once per step row ("row").

    With "trajectory" a row penalty shifts the row's own R and stays out of the statistics (reading: a rollout has one
    R).
    """
    if episode_stats == "trajectory":
        return moments(batch.siblings, returns.rollout, norm, lone=lone)
    return row_moments(batch, returns.row, norm, lone)


def row_moments(batch: StepBatch, value: NDArray[np.float64], norm: Norm, lone: Lone = "zero") -> Moments:
    """Moments of `value` [N] per group, every step row counted.

    A group of one rollout has nothing to be compared with, so it has no signal; the public code (lone="raw") looks at
    the number of rows alone.
    """
    by_row = moments(batch.groups, value, norm, lone=lone)
    if lone == "raw":
        return by_row
    return Moments(mean=by_row.mean, scale=by_row.scale, signal=by_row.signal & (batch.siblings.size > 1))
