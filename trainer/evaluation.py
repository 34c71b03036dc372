"""Success on tasks nobody trained on: rates with intervals, in all and by kind of task."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rollout.collect import Collected, Collector
from rollout.seeds import derive_seed
from rollout.types import RolloutGroup, Sampling, Trajectory
from trainer.data.rows import trajectories
from trainer.data.tasks import validation_tasks
from trainer.report.progress import Display
from trainer.report.rate import Rate
from trainer.setup.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One pass over held-out tasks, one rollout each."""

    overall: Rate
    by_kind: dict[str, Rate]
    mean_score: float
    mean_steps: float
    invalid_share: float
    trajectories: tuple[Trajectory, ...]


def play_held_out(
    collector: Collector, world: World, *, count: int | None, sampling: Sampling, seed: int, display: Display
) -> Collected:
    """One rollout of each of `count` distinct validation tasks (None: all), the same tasks in every run."""
    tasks = validation_tasks(world.validation, count=count or len(world.validation))
    with display.counting("held-out tasks", len(tasks)) as bar:
        return asyncio.run(
            collector.collect(
                tasks,
                group_size=1,
                sampling=sampling,
                seed=derive_seed(seed, "validation"),
                on_done=lambda _: bar.advance(),
            )
        )


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
