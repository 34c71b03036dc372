"""95 % intervals by leaving out one block of groups at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

BLOCKS = 20
"""The groups of one measurement fall into so many blocks of equal size."""

KEPT = np.vstack([np.ones(BLOCKS), 1.0 - np.eye(BLOCKS)])
"""Weights of the blocks [1 + BLOCKS, BLOCKS]: first all blocks, then all but each one in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceInterval:
    """A number with its 95 % interval, value - half to value + half."""

    value: float
    """NaN where the number is undefined."""

    half: float
    """Half the width of the interval; NaN where it is undefined."""


def jackknife(values: NDArray[np.float64]) -> ConfidenceInterval:
    """The interval of the first of [1 + B] values: of all blocks, then of all but each one in turn, as in `KEPT`.

    With B blocks and v_b computed without block b:

        half = t(0.975, B - 1) sqrt((B - 1) / B sum over b of (v_b - mean of all v_b)^2)

    t is the quantile of Student's distribution. For a mean, the root is the standard error.
    """
    blocks = len(values) - 1
    deviation = np.sqrt((blocks - 1) * np.var(values[1:]))
    return ConfidenceInterval(value=float(values[0]), half=float(student.ppf(0.975, blocks - 1) * deviation))


def interval(values: Sequence[float]) -> ConfidenceInterval:
    """Mean of independent values with its interval, half = t(0.975, n - 1) std / sqrt(n); values of NaN are left out.

    NaN without a value; the half is NaN with one.
    """
    numbers = np.array([value for value in values if not np.isnan(value)])
    if len(numbers) < 2:
        return ConfidenceInterval(value=float(numbers[0]) if len(numbers) else np.nan, half=np.nan)
    half = student.ppf(0.975, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers))
    return ConfidenceInterval(value=float(numbers.mean()), half=float(half))
