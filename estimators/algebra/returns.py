"""Returns of a whole episode and returns to go from a step, with the penalty for invalid responses in either place."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.sets import Moments, Norm, Singleton, moments
from estimators.base import StepBatch

EpisodeStats = Literal["trajectory", "row"]
Penalty = Literal["return", "row"]
Paid = Literal["all", "world"]
"""Whose rewards a return holds: all, or the environment's without a scorer's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EpisodeReturns:
    """The undiscounted return R, by rollout and by row."""

    rollout: NDArray[np.float64]
    """float64 [M]. R of each rollout."""
    row: NDArray[np.float64]
    """float64 [N]. R of each row's rollout; with penalty="row", less the row's own penalty."""


def rewards(batch: StepBatch, penalty: Penalty, invalid_penalty: float) -> NDArray[np.float64]:
    """The reward of each step [N]; with penalty="return" less `invalid_penalty` where the response is invalid."""
    return batch.reward - _cost(batch, invalid_penalty) if penalty == "return" else batch.reward


def row_penalty(batch: StepBatch, penalty: Penalty, invalid_penalty: float) -> NDArray[np.float64]:
    """What is taken off a row's own R and G [N] after returns are computed: 0 unless penalty="row".

    The public GiGPO code does it so.
    """
    return _cost(batch, invalid_penalty) if penalty == "row" else np.zeros(len(batch))


def _cost(batch: StepBatch, invalid_penalty: float) -> NDArray[np.float64]:
    return batch.invalid.astype(np.float64) * invalid_penalty


def episode_returns(batch: StepBatch, penalty: Penalty, invalid_penalty: float, of: Paid = "all") -> EpisodeReturns:
    """The return of each rollout and row (2505.10978 sec. 3):

    R = sum_t r_t, undiscounted

    of: "world" leaves out what a scorer added.
    """
    reward = rewards(batch, penalty, invalid_penalty)
    if of == "world" and batch.step_reward is not None:
        reward = reward - batch.step_reward
    rollout = batch.rollouts.sum(reward)
    row = rollout[batch.rollouts.label]
    own = row - _cost(batch, invalid_penalty) if penalty == "row" else row
    return EpisodeReturns(rollout=rollout, row=own)


def outcomes(batch: StepBatch) -> NDArray[np.float64]:
    """Sum of the environment's rewards over each rollout [M], without penalties and without a scorer's rewards."""
    own = batch.reward if batch.step_reward is None else batch.reward - batch.step_reward
    return batch.rollouts.sum(own)


def succeeded(batch: StepBatch, success_reward: float) -> NDArray[np.bool_]:
    """Whether each rollout's outcome [M] is at least `success_reward`, up to rounding (relative 1e-9)."""
    return outcomes(batch) >= success_reward * (1.0 - 1e-9)


def returns_to_go(batch: StepBatch, gamma: float, penalty: Penalty, invalid_penalty: float) -> NDArray[np.float64]:
    """The discounted return to go [N] (2505.10978 eq. 5):

    G_t = r_t + gamma * G_{t+1}
    """
    future = discounted(batch, rewards(batch, penalty, invalid_penalty), gamma)
    return future - _cost(batch, invalid_penalty) if penalty == "row" else future


def discounted(batch: StepBatch, value: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Discounted sum [N] over the rest of each rollout:

        S_t = sum_k gamma^k * value_{t+k}

    Computed by doubling: after pass k a row holds the first 2^k terms of its sum. A rollout of T steps takes log2(T)
    passes over the columns, without a loop over rows or time.
    """
    total = value[batch.rollouts.order]
    weight = gamma
    for reach, within in _doubling(batch):
        later = total[reach:] * weight
        later *= within
        total[:-reach] += later
        weight *= weight
    return _by_row(batch, total)


def gae(
    batch: StepBatch, reward: NDArray[np.float64], value: NDArray[np.float64], gamma: float, lam: float
) -> NDArray[np.float64]:
    """Generalised advantage estimation [N] over each rollout (1506.02438 eq. 16), with value 0 after its last step:

    A_t = sum_k (gamma * lam)^k * (reward_{t+k} + gamma * value_{t+k+1} - value_{t+k})
    """
    return discounted(batch, reward + gamma * at_next(batch, value, 0.0) - value, gamma * lam)


def token_gae(
    batch: StepBatch, reward: NDArray[np.float64], value: NDArray[np.float64], gamma: float, lam: float
) -> NDArray[np.float64]:
    """The same over each rollout's response tokens [R], from the last token of a turn to the first of the next:

        A_j = delta_j + gamma_j * lam * A_{j+1},    delta_j = r_j + gamma_j * value_{j+1} - value_j

    A turn's reward is that of its last token. gamma_j is gamma at a turn's last token and 1 before it: time passes with
    turns. value [R] is in the batch's order of rows, and so is the result.
    """
    rows, place = batch.rollouts.order, token_order(batch)
    ends = np.cumsum(batch.needed("response_tokens", "token_gae")[rows])  # [N] in order of time
    earned, decay = np.zeros(len(value)), np.ones(len(value))
    earned[ends - 1], decay[ends - 1] = reward[rows], gamma
    decay[ends[batch.rollouts.start + batch.rollouts.size - 1] - 1] = 0.0  # nothing follows
    total = earned + decay * np.roll(value[place], -1) - value[place]
    weight, reach = decay * lam, 1
    while weight.any():  # by doubling, as `discounted`
        total[:-reach] += weight[:-reach] * total[reach:]
        weight[:-reach] *= weight[reach:]
        weight[-reach:] = 0.0
        reach *= 2
    result = np.empty_like(total)
    result[place] = total
    return result


def explained_variance(
    value: NDArray[np.float64], returns: NDArray[np.float64], order: NDArray[np.int64]
) -> dict[str, float]:
    """What share of the variance of `returns` the values explain, as a diagnostic; empty where all returns are equal.

    order: along which they are summed.
    """
    spread = float(returns[order].var())
    return {"explained_variance": 1.0 - float((returns - value)[order].var()) / spread} if spread > 0 else {}


def token_order(batch: StepBatch) -> NDArray[np.int64]:
    """Where each response token of the rollouts, in their order and in that of time, stands in `token_values`. [R]"""
    lens: NDArray[np.int64] = batch.needed("response_tokens", "token_order")
    rows = batch.rollouts.order
    begins = (np.cumsum(lens) - lens)[rows]
    within = np.arange(int(lens.sum())) - np.repeat(np.cumsum(lens[rows]) - lens[rows], lens[rows])
    return np.repeat(begins, lens[rows]) + within


def least_to_come(batch: StepBatch, value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimum [N] over the rest of each rollout, by the same doubling:

    L_t = min_{u >= t} value_u
    """
    least = value[batch.rollouts.order]
    for reach, within in _doubling(batch):
        least[:-reach] = np.where(within, np.minimum(least[:-reach], least[reach:]), least[:-reach])
    return _by_row(batch, least)


def at_next(batch: StepBatch, value: NDArray[Any], end: Any) -> NDArray[Any]:
    """`value` [N] one step later in the same rollout; `end`, a number or [N], at its last step."""
    sets = batch.rollouts
    later = np.roll(value[sets.order], -1)
    last = sets.start + sets.size - 1
    later[last] = np.broadcast_to(end, value.shape)[sets.order[last]]
    return _by_row(batch, later)


def at_previous(batch: StepBatch, value: NDArray[Any], start: Any) -> NDArray[Any]:
    """`value` [N] one step earlier in the same rollout; the number `start` at its first step."""
    sets = batch.rollouts
    earlier = np.roll(value[sets.order], 1)
    earlier[sets.start] = start
    return _by_row(batch, earlier)


def _doubling(batch: StepBatch) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """For reach = 1, 2, 4...: reach, and whether the row `reach` places later is in the same rollout [N - reach]."""
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
    batch: StepBatch,
    returns: EpisodeReturns,
    norm: Norm,
    episode_stats: EpisodeStats,
    singleton: Singleton = "zero",
) -> Moments:
    """Moments of R per group. "trajectory" counts each rollout once (the papers), "row" once per step row.

    Reading: with "trajectory" a row penalty shifts the row's own R and stays out of the statistics, since a rollout
    has one R.
    """
    if episode_stats == "trajectory":
        return moments(batch.siblings, returns.rollout, norm, singleton=singleton)
    return row_moments(batch, returns.row, norm, singleton)


def row_moments(batch: StepBatch, value: NDArray[np.float64], norm: Norm, singleton: Singleton = "zero") -> Moments:
    """Moments of `value` [N] per group, counting every step row.

    A group of one rollout has no signal, since there is nothing to compare it with. The public code (singleton="raw")
    looks at the number of rows only.
    """
    by_row = moments(batch.groups, value, norm, singleton=singleton)
    if singleton == "raw":
        return by_row
    return Moments(mean=by_row.mean, scale=by_row.scale, signal=by_row.signal & (batch.siblings.size > 1))
