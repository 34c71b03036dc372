"""How much more one policy solves than another on the same tasks, with an interval and a test that pair the tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, sqrt

import numpy as np
from scipy.stats import norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """The rollouts of one task by one policy."""

    wins: int
    """Rollouts that solved it."""
    samples: int
    """All rollouts, at least 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """The second policy's success less the first one's, as a mean over tasks."""

    value: float
    """In [-1, 1]."""
    low: float
    """Lower end of the 95 % interval over tasks, each with all its rollouts, see `spread`."""
    high: float
    """Upper end of the interval."""
    p: float
    """Two-sided p-value, see `sign_flip`."""


def gain(first: Sequence[Solved], second: Sequence[Solved]) -> Gain:
    """Compare two policies on the same tasks in the same order. Raises ValueError for fewer than two tasks."""
    pairs = list(zip(first, second, strict=True))
    if len(pairs) < 2:
        raise ValueError(f"a comparison of {len(pairs)} tasks: it needs two or more")
    differences = np.array([after.wins / after.samples - before.wins / before.samples for before, after in pairs])
    common = int(np.lcm.reduce([solved.samples for pair in pairs for solved in pair]))
    whole = [
        after.wins * (common // after.samples) - before.wins * (common // before.samples) for before, after in pairs
    ]
    low, high = _interval(differences)
    return Gain(value=float(differences.mean()), low=low, high=high, p=sign_flip(whole))


def spread(differences: np.ndarray) -> tuple[float, float]:
    """Centre and standard deviation of a mean over tasks of differences in [-1, 1], for a normal interval.

    Bonett and Price (2012): of two tasks more, each policy alone solves one. So it covers as often as it says where few
    tasks differ, and where none does; a bootstrap over tasks is too narrow there.
    """
    tasks = len(differences) + 2
    centre = float(differences.sum()) / tasks
    return centre, sqrt((((differences**2).sum() + 2) / tasks - centre**2) / tasks)


def _interval(differences: np.ndarray) -> tuple[float, float]:
    centre, deviation = spread(differences)
    half = float(norm.ppf(0.975)) * deviation
    return max(-1.0, centre - half), min(1.0, centre + half)


def sign_flip(differences: Sequence[int]) -> float:
    """The two-sided p-value of the exact sign-flip (permutation) test that the differences are symmetric around 0.

    All 2**n choices of signs count, by convolution. With one rollout a task it is McNemar's exact test.
    """
    unit = gcd(*differences) or 1
    sizes = sorted(abs(difference) // unit for difference in differences)
    total = sum(sizes)
    chances = np.ones(1)  # chances[i]: that the sizes with a plus sign, of those so far, sum to i
    for size in sizes:
        chances = (np.pad(chances, (0, size)) + np.pad(chances, (size, 0))) / 2
    sums = 2 * np.arange(total + 1) - total
    return min(1.0, float(chances[abs(sums) >= abs(sum(differences)) // unit].sum()))
