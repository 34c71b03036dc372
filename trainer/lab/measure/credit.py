"""What one estimator's credit looks like, and how far two of them agree: pure functions of one value per row."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from estimators import StepBatch
from estimators.algebra.sets import Sets

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One estimator's credit on one batch.

    zero: share of rows whose credit is exactly 0.
    variance: of credit over all rows. between_groups, between_rollouts, within_rollouts: its parts, as shares that sum
        to 1: of the groups' means; of the rollouts' means around their group's; of the rows around their rollout's.
        Credit that is the same for every step of a rollout has 0 within rollouts.
    effective: Kish's effective sample size of the weights |A|, as a share of the rows: 1 where all weigh the same.
    The shares are None where there is no variance, or no credit at all.
    """

    zero: float
    variance: float
    between_groups: float | None
    between_rollouts: float | None
    within_rollouts: float | None
    effective: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two estimators on one batch.

    rank: Spearman's correlation over rows; None where one of them is constant.
    sign: share of the rows with credit from both on which the signs agree; None where there are none.
    both: share of the rows with credit from both.
    """

    rank: float | None
    sign: float | None
    both: float


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """How often a group came back to a state. singleton_states, singleton_rows: shares of those seen once.

    size_mean, size_p90: visits of a state. keys_mean: distinct actions taken in it.
    """

    singleton_states: float
    singleton_rows: float
    size_mean: float
    size_p90: float
    keys_mean: float


def shape(value: Floats, batch: StepBatch) -> Shape:
    """Of credit [N] in the batch's row order."""
    variance = float(np.var(value))
    groups, rollouts = _means(value, batch.groups), _means(value, batch.rollouts)
    parts = [((groups - value.mean()) ** 2).mean(), ((rollouts - groups) ** 2).mean(), ((value - rollouts) ** 2).mean()]
    shares = [float(part) / variance for part in parts] if variance > 0.0 else [None] * 3
    weight = np.abs(value)
    squares = float((weight * weight).sum())
    return Shape(
        zero=float((value == 0.0).mean()),
        variance=variance,
        between_groups=shares[0],
        between_rollouts=shares[1],
        within_rollouts=shares[2],
        effective=float(weight.sum()) ** 2 / squares / len(value) if squares > 0.0 else None,
    )


def agreements(credit: Mapping[str, Floats]) -> dict[tuple[str, str], Agreement]:
    """Of every pair of names, in their order; the credits [N] are of the same rows."""
    ranks = {name: _standard(rankdata(value)) for name, value in credit.items()}
    signs = {name: np.sign(value) for name, value in credit.items()}
    names = list(credit)
    return {
        (one, other): _agreement(ranks[one], ranks[other], signs[one] * signs[other])
        for at, one in enumerate(names)
        for other in names[at + 1 :]
    }


def states(batch: StepBatch) -> States:
    """Of a batch's states as their texts tell them apart."""
    anchors = batch.anchors
    alone = anchors.size == 1
    return States(
        singleton_states=float(alone.mean()),
        singleton_rows=float(alone.sum() / len(batch)),
        size_mean=float(anchors.size.mean()),
        size_p90=float(np.percentile(anchors.size, 90)),
        keys_mean=len(anchors.split(batch.keys).size) / len(anchors.size),
    )


def _means(value: Floats, sets: Sets) -> Floats:
    return sets.mean(value)[sets.label]


def _standard(rank: Floats) -> Floats | None:
    """Ranks [N] with mean 0 and length 1; None where all are equal."""
    centred = rank - rank.mean()
    length = float(np.linalg.norm(centred))
    return centred / length if length > 0.0 else None


def _agreement(one: Floats | None, other: Floats | None, signs: Floats) -> Agreement:
    both = np.count_nonzero(signs)
    return Agreement(
        rank=None if one is None or other is None else float(one @ other),
        sign=float(np.count_nonzero(signs > 0) / both) if both else None,
        both=float(both / len(signs)),
    )
