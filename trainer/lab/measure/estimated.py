"""Credit of recorded rows against their true advantages, where `stepcredit truth` has estimated these."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.sets import Sets
from trainer.config.build import ConfigError
from trainer.lab.measure.jackknife import ConfidenceInterval, jackknife
from trainer.report.rate import Z

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EstimatedTruth:
    """The advantage A of N recorded rows, estimated by rollouts that go on from each."""

    advantage: Floats
    """float64 [N]. The estimate, in units of reward."""
    error: Floats
    """float64 [N]. Its standard error s."""

    @property
    def certain(self) -> NDArray[np.bool_]:
        """Whose 95 % interval leaves 0 out. [N]"""
        return np.abs(self.advantage) > Z * self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstEstimate:
    """One estimator's credit e against the estimated advantage A of an update's rows; the intervals are over groups.

    correlation = E[e A] / sqrt(E[e^2] (E[A^2] - E[s^2]))

    The rollouts behind A are none of those behind e, so that their chance averages out of E[e A]. It adds E[s^2] to
    E[A^2], which is taken off again.
    """

    correlation: ConfidenceInterval
    """Uncentred, over all rows; NaN where either side is 0 everywhere, or A no larger than its chance."""
    sign: ConfidenceInterval
    """Share of the rows with A certain to differ from 0 whose credit has the sign of A; NaN without such rows."""
    blame: ConfidenceInterval
    """The same over the rows with A certain to be below 0."""
    lead: ConfidenceInterval | None = None
    """The correlation less that of the first estimator on the same rows; None for the first itself."""


def read_truth(path: Path | None, length: int) -> EstimatedTruth | None:
    """The estimates that lie beside `length` rows; None where there are none. Raises ConfigError for broken ones."""
    if path is None:
        return None
    try:
        with np.load(path) as kept:
            truth = EstimatedTruth(advantage=kept["advantage"], error=kept["error"])
    except (ValueError, EOFError, KeyError, BadZipFile) as broken:
        raise ConfigError(f"{path} is no whole estimate ({broken}): delete it") from broken
    if len(truth.advantage) != length:
        raise ConfigError(f"{path} is of other rollouts: delete it, or run stepcredit truth again")
    return truth


def against_estimate(
    credit: Floats, truth: EstimatedTruth, groups: Sets, first: Floats | None = None
) -> AgainstEstimate:
    """Compare the credit [N] of the rows of `groups`; `first` [N] is the first estimator's, for the lead over it."""
    right, below = np.sign(credit) == np.sign(truth.advantage), truth.certain & (truth.advantage < 0.0)
    right_signs, signs, right_blame, blame = (
        _without_each(groups, column.astype(np.float64))
        for column in (right & truth.certain, truth.certain, right & below, below)
    )
    correlation = _correlation(credit, truth, groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        return AgainstEstimate(
            correlation=jackknife(correlation),
            sign=jackknife(right_signs / signs),
            blame=jackknife(right_blame / blame),
            lead=None if first is None else jackknife(correlation - _correlation(first, truth, groups)),
        )


def mean_interval(updates: Sequence[ConfidenceInterval]) -> ConfidenceInterval:
    """The mean over updates, whose rollouts are independent; those without a value are left out."""
    intervals = [update for update in updates if not np.isnan(update.value)]
    if not intervals:
        return ConfidenceInterval(value=np.nan, half=np.nan)
    half = np.sqrt(sum(update.half**2 for update in intervals)) / len(intervals)
    return ConfidenceInterval(value=float(np.mean([update.value for update in intervals])), half=float(half))


def _correlation(credit: Floats, truth: EstimatedTruth, groups: Sets) -> Floats:
    """`AgainstEstimate.correlation` over all groups, then over all but each one. [1 + groups]"""
    product, square, signal = (
        _without_each(groups, column)
        for column in (credit * truth.advantage, credit * credit, truth.advantage**2 - truth.error**2)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return product / np.sqrt(square * signal)


def _without_each(groups: Sets, column: Floats) -> Floats:
    """The column's sum over all groups, then over all but each one. [1 + groups]"""
    of_group = groups.sum(column)
    return np.concatenate([[of_group.sum()], of_group.sum() - of_group])
