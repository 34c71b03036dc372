"""Success shares with their confidence intervals, of tasks that are played once or several times each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A mean over tasks with its 95 % interval."""

    value: float
    """In [0, 1]."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many rollouts solved their tasks. Raises ValueError without any, and for more wins than rollouts."""

    wins: int
    """Rollouts that solved their task."""
    total: int
    """All rollouts, at least 1."""
    by_task: tuple[int, ...] = ()
    """The wins of each task, where each was played several times, all equally often; empty where each was played
    once."""

    def __post_init__(self) -> None:
        if not 0 <= self.wins <= self.total or self.total < 1:
            raise ValueError(f"{self.wins} wins of {self.total}: a rate needs at least one task")
        if self.by_task and (
            self.total % len(self.by_task) or sum(self.by_task) != self.wins or max(self.by_task) > self.samples
        ):
            raise ValueError(
                f"{self.wins} wins of {self.total} by task are {self.by_task}: each is played equally often"
            )

    @property
    def samples(self) -> int:
        """Rollouts of each task."""
        return self.total // len(self.by_task) if self.by_task else 1

    @property
    def share(self) -> float:
        """wins / total, in [0, 1]."""
        return self.wins / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of Wilson's 95 % interval of the share.

        The rollouts of one task hang together, so they count as fewer than they are: see `mean_share`.
        """
        if not self.by_task:
            return wilson(self.share, self.total)
        share = mean_share([wins / self.samples for wins in self.by_task], most=self.total)
        return share.low, share.high

    def pass_at(self, k: int) -> Share:
        """The mean over tasks of the probability that one of k rollouts solves it (2107.03374 eq. 1, unbiased).

        1 - C(n - c, k) / C(n, k) for c wins of n rollouts. Raises ValueError for a k above n.
        """
        if not 1 <= k <= self.samples:
            raise ValueError(f"pass@{k} of {self.samples} rollouts a task: k is between 1 and their number")
        wins, n = self.by_task or (1,) * self.wins + (0,) * (self.total - self.wins), self.samples
        return mean_share([1 - math.comb(n - c, k) / math.comb(n, k) for c in wins], most=len(wins) * (n // k))

    @property
    def ks(self) -> tuple[int, ...]:
        """The k of which pass@k is told: 1, 2, 4 and so on, and the number of rollouts of a task."""
        powers = (2**exponent for exponent in range(self.samples.bit_length()))
        return tuple(dict.fromkeys((*powers, self.samples)))

    def __str__(self) -> str:
        low, high = self.interval
        of = f" of {len(self.by_task)} tasks" if self.by_task else ""
        return f"{Share(value=self.share, low=low, high=high)} ({self.wins}/{self.total}{of})"


def mean_share(values: Sequence[float], *, most: float) -> Share:
    """The mean of one value in [0, 1] for each task, with Wilson's 95 % interval at the effective sample size.

    This size is p (1 - p) / v, for the mean p and its variance v over tasks as clusters (Korn and Graubard 1998): the
    number of tasks where the rollouts of a task all end alike, `most` where they tell as much as those of different
    tasks. Where all tasks are alike at 0 or 1 nothing tells it, and it is the number of tasks.
    """
    numbers, tasks = np.asarray(values, np.float64), len(values)
    mean = float(numbers.mean())
    binomial = mean * (1 - mean)
    variance = float(numbers.var(ddof=1)) / tasks if tasks > 1 else 0.0
    effective = float(most) if variance == 0 else binomial / variance
    if tasks == 1 or binomial == 0:
        effective = tasks
    low, high = wilson(mean, min(max(effective, tasks), max(most, tasks)))
    return Share(value=mean, low=low, high=high)


def wilson(share: float, size: float) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of `size` independent trials."""
    center = 2 * size * share + Z * Z
    half = Z * math.sqrt(4 * size * share * (1 - share) + Z * Z)
    scale = 2 * (size + Z * Z)
    return (0.0 if share == 0 else (center - half) / scale), (1.0 if share == 1 else (center + half) / scale)
