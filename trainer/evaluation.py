"""Success on tasks nobody trained on: rates with intervals, in all and by kind of task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from rollout.types import RolloutGroup, Trajectory
from trainer.data.columns import trajectories


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One pass over held-out tasks, one rollout each."""

    overall: Rate
    by_kind: dict[str, Rate]
    mean_score: float
    mean_steps: float
    invalid_share: float
    trajectories: tuple[Trajectory, ...]


def evaluation(groups: Sequence[RolloutGroup], kind_of: Callable[[str], str]) -> Evaluation:
    """Sum up finished rollouts. kind_of: a task's label, such as "depth 2". Raises ValueError without rollouts."""
    played = trajectories(groups)
    steps = [step for trajectory in played for step in trajectory.steps]
    kinds = sorted({kind_of(trajectory.task_id) for trajectory in played})
    return Evaluation(
        overall=_rate(played),
        by_kind={kind: _rate([one for one in played if kind_of(one.task_id) == kind]) for kind in kinds},
        mean_score=sum(trajectory.score for trajectory in played) / len(played),
        mean_steps=len(steps) / len(played),
        invalid_share=sum(not step.valid for step in steps) / len(steps),
        trajectories=tuple(played),
    )


def _rate(played: Sequence[Trajectory]) -> Rate:
    return Rate(wins=sum(trajectory.success for trajectory in played), total=len(played))
