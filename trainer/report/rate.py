"""A share with its interval."""

from dataclasses import dataclass

from scipy.stats import binomtest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """wins of total, both counts; low and high: Wilson's 95 % interval of the share."""

    wins: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.wins <= self.total or self.total < 1:
            raise ValueError(f"{self.wins} wins of {self.total}: a rate needs at least one task")

    @property
    def share(self) -> float:
        return self.wins / self.total

    @property
    def interval(self) -> tuple[float, float]:
        found = binomtest(self.wins, self.total).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}] ({self.wins}/{self.total})"
