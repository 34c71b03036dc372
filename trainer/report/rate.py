"""A success share with its confidence interval."""

from dataclasses import dataclass

from scipy.stats import binomtest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many of some tasks were solved. Raises ValueError without tasks, and for more wins than tasks."""

    wins: int
    """Tasks that were solved."""
    total: int
    """All tasks, at least 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.wins <= self.total or self.total < 1:
            raise ValueError(f"{self.wins} wins of {self.total}: a rate needs at least one task")

    @property
    def share(self) -> float:
        """wins / total, in [0, 1]."""
        return self.wins / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of Wilson's 95 % interval of the share."""
        interval = binomtest(self.wins, self.total).proportion_ci(method="wilson")
        return float(interval.low), float(interval.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}] ({self.wins}/{self.total})"
