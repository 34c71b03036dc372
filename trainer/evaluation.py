"""Success on held-out tasks: rates with intervals, overall and by kind of task."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rollout.collect import Collected, Collector
from rollout.collection import PlayOptions
from rollout.seeds import derive_seed
from rollout.types import RolloutGroup, Sampling, Trajectory
from trainer.data.rows import trajectories
from trainer.data.tasks import validation_tasks
from trainer.report.progress import Display
from trainer.report.rate import Rate
from trainer.setup.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The result of one pass over held-out tasks, one rollout each."""

    overall: Rate
    """Success on all tasks."""

    by_kind: dict[str, Rate]
    """Success by kind of task, such as "depth 2", in alphabetical order."""

    mean_score: float
    """Mean score of the rollouts, on the world's own scale."""

    mean_steps: float
    """Mean number of steps (agent turns) of a rollout."""

    invalid_share: float
    """Share of all steps whose action the world could not read, in [0, 1]."""

    trajectories: tuple[Trajectory, ...]
    """The rollouts themselves."""


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
                options=PlayOptions(
                    sampling=sampling, seed=derive_seed(seed, "validation"), on_done=lambda _: bar.advance()
                ),
            )
        )


def evaluation(groups: Sequence[RolloutGroup], kind_of: Callable[[str], str]) -> Evaluation:
    """Sum up finished rollouts. kind_of gives a task's label, such as "depth 2". Raises ValueError without rollouts."""
    rollouts = trajectories(groups)
    steps = [step for rollout in rollouts for step in rollout.steps]
    kinds = sorted({kind_of(rollout.task_id) for rollout in rollouts})
    return Evaluation(
        overall=_rate(rollouts),
        by_kind={kind: _rate([rollout for rollout in rollouts if kind_of(rollout.task_id) == kind]) for kind in kinds},
        mean_score=sum(rollout.score for rollout in rollouts) / len(rollouts),
        mean_steps=len(steps) / len(rollouts),
        invalid_share=sum(not step.valid for step in steps) / len(steps),
        trajectories=tuple(rollouts),
    )


def _rate(rollouts: Sequence[Trajectory]) -> Rate:
    return Rate(wins=sum(rollout.success for rollout in rollouts), total=len(rollouts))
