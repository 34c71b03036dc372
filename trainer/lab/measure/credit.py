"""Statistics of one estimator's credit, and the agreement of two: pure functions of one value for each row."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from estimators import StepBatch
from estimators.algebra.sets import Sets

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditStatistics:
    """One estimator's credit A on the N rows of one batch.

    The variance over the rows splits into three parts that sum to 1:

        between_groups   = mean over rows of (mean of the group - mean of all)^2 / variance
        between_rollouts = mean over rows of (mean of the rollout - mean of the group)^2 / variance
        within_rollouts  = mean over rows of (A - mean of the rollout)^2 / variance

    All three are None where the variance is 0. Credit that is equal on all steps of a rollout has within_rollouts = 0.
    """

    zero: float
    """Share of the rows whose credit is exactly 0."""

    variance: float
    """Variance of the credit over all rows."""

    between_groups: float | None
    """Share of the variance that lies in the groups' means."""

    between_rollouts: float | None
    """Share that lies in the rollouts' means around the mean of their group."""

    within_rollouts: float | None
    """Share that lies in the rows around the mean of their rollout."""

    effective: float | None
    """Kish's effective sample size of the weights |A| as a share of the rows, (sum |A|)^2 / (N sum A^2).

    1 where all rows weigh the same; None where all credit is 0.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement of two estimators on one batch."""

    rank: float | None
    """Spearman's rank correlation over the rows; None where one of the two is constant."""

    sign: float | None
    """Share with equal signs, of the rows that both give credit to; None where there is no such row."""

    both: float
    """Share of the rows that both give credit to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateStatistics:
    """How often the rollouts of a group came back to a state. Equal texts are one state."""

    singleton_states: float
    """Share of the states that were visited once."""

    singleton_rows: float
    """Share of the rows that are the only visit to their state."""

    size_mean: float
    """Mean number of visits to a state."""

    size_p90: float
    """90th percentile of the visits to a state."""

    keys_mean: float
    """Mean number of distinct actions taken in a state."""


def credit_statistics(credit: Floats, batch: StepBatch) -> CreditStatistics:
    """Statistics of credit [N], in the batch's row order."""
    variance = float(np.var(credit))
    groups, rollouts = _row_means(credit, batch.groups), _row_means(credit, batch.rollouts)
    parts = (
        ((groups - credit.mean()) ** 2).mean(),
        ((rollouts - groups) ** 2).mean(),
        ((credit - rollouts) ** 2).mean(),
    )
    shares = [float(part) / variance for part in parts] if variance > 0.0 else [None] * 3
    weight = np.abs(credit)
    squares = float((weight * weight).sum())
    return CreditStatistics(
        zero=float((credit == 0.0).mean()),
        variance=variance,
        between_groups=shares[0],
        between_rollouts=shares[1],
        within_rollouts=shares[2],
        effective=float(weight.sum()) ** 2 / squares / len(credit) if squares > 0.0 else None,
    )


def agreements(credit: Mapping[str, Floats]) -> dict[tuple[str, str], Agreement]:
    """The agreement of every pair of names, in their order. All credits [N] are of the same rows."""
    ranks = {name: _standardized(rankdata(value)) for name, value in credit.items()}
    signs = {name: np.sign(value) for name, value in credit.items()}
    return {
        (first, second): _agreement(ranks[first], ranks[second], signs[first] * signs[second])
        for first, second in combinations(credit, 2)
    }


def state_statistics(batch: StepBatch) -> StateStatistics:
    """Statistics of the states in a batch."""
    anchors = batch.anchors
    singleton = anchors.size == 1
    return StateStatistics(
        singleton_states=float(singleton.mean()),
        singleton_rows=float(singleton.sum() / len(batch)),
        size_mean=float(anchors.size.mean()),
        size_p90=float(np.percentile(anchors.size, 90)),
        keys_mean=len(anchors.split(batch.keys).size) / len(anchors.size),
    )


def _row_means(credit: Floats, sets: Sets) -> Floats:
    """For each row [N], the mean credit of the set it belongs to."""
    return sets.mean(credit)[sets.label]


def _standardized(rank: Floats) -> Floats | None:
    """Ranks [N] shifted and scaled to mean 0 and length 1; None where all are equal."""
    centred = rank - rank.mean()
    length = float(np.linalg.norm(centred))
    return centred / length if length > 0.0 else None


def _agreement(first: Floats | None, second: Floats | None, signs: Floats) -> Agreement:
    both = np.count_nonzero(signs)
    return Agreement(
        rank=None if first is None or second is None else float(first @ second),
        sign=float(np.count_nonzero(signs > 0) / both) if both else None,
        both=float(both / len(signs)),
    )
