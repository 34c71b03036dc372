"""What is learned from retries: the steps from the pivot on (R3L 2601.03715), or those up to it (InT 2601.14209).

The pivot's own step is learned in both.

All columns here are those of a `RowTable` with retries: the rows of the rollouts first, then those of the retries.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from estimators import Advantages
from rollout.revise import ReviseConfig
from rollout.types import Retry, RolloutGroup
from trainer.data.rows import trajectories

Bool = NDArray[np.bool_]


def with_retries(groups: Sequence[RolloutGroup], advantages: Advantages, config: ReviseConfig) -> Advantages:
    """The credit of all rows.

    mode=revise: as it is. mode=retry: the estimator judged retries as it judged rollouts; steps that a failure shares
    with its retries get no gradient, and advantages above 0 count `weight` times. mode=intervene: it judged rollouts
    alone; of a retry that succeeded, the steps up to the one at the pivot have the advantage `weight`, all else of a
    retry gets no gradient.
    """
    value = advantages.value
    mask = np.ones(len(value), np.bool_) if advantages.mask is None else advantages.mask
    if config.mode == "retry":
        tokens = advantages.token_value
        return replace(
            advantages,
            value=_amplified(value, config.weight),
            token_value=None if tokens is None else _amplified(tokens, config.weight),
            mask=mask & ~shared(groups),
        )
    if config.mode == "intervene":
        taught = _taught(groups)
        value = np.concatenate([value, np.where(taught, config.weight, 0.0)])
        return replace(advantages, value=value, mask=np.concatenate([mask, taught]))
    return advantages


def shared(groups: Sequence[RolloutGroup]) -> Bool:
    """Which rows stand before a pivot: of a retry before its own, of a failure before the earliest. [N]"""
    marks = list[bool]()
    for group in groups:
        for rollout in group.trajectories:
            pivots = [one.pivot for one in group.retries if one.trajectory.sibling == rollout.sibling]
            marks += [time < min(pivots, default=0) for time in range(len(rollout.steps))]
    marks += [time < one.pivot for group in groups for one in group.retries for time in range(_length(one))]
    return np.array(marks, np.bool_)


def aided(groups: Sequence[RolloutGroup]) -> Bool:
    """Which rows were sampled from another prompt than their own: the steps at the pivots of retries. [N]"""
    rollouts = sum(len(rollout.steps) for rollout in trajectories(groups))
    marks = [time == one.pivot for group in groups for one in group.retries for time in range(_length(one))]
    return np.array([False] * rollouts + marks, np.bool_)


def _amplified(value: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    return np.where(value > 0.0, weight * value, value)


def _taught(groups: Sequence[RolloutGroup]) -> Bool:
    """Which rows of the retries are taught by mode=intervene. [rows of retries]"""
    return np.array(
        [
            one.trajectory.success and time <= one.pivot
            for group in groups
            for one in group.retries
            for time in range(_length(one))
        ],
        np.bool_,
    )


def _length(one: Retry) -> int:
    return len(one.trajectory.steps)
