"""Success on held-out tasks: rates with intervals, overall and by kind of task.

A task that could not be played counts as not solved, so that a rate is always of all tasks that were asked for.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
    """Success on all tasks. One that could not be played counts as not solved."""

    by_kind: dict[str, Rate]
    """Success by kind of task, such as "depth 2", in alphabetical order, counted as in `overall`."""

    not_played: Mapping[str, int]
    """Tasks that could not be played, by the reason of the last failure."""

    not_played_by_kind: Mapping[str, Mapping[str, int]]
    """The same by kind of task; a kind that was played whole is left out."""

    mean_score: float
    """Mean score of all tasks, on the world's own scale. One that could not be played scores 0."""

    mean_steps: float
    """Mean number of steps (agent turns) of a rollout that was played."""

    invalid_share: float
    """Share of all steps whose action the world could not read, in [0, 1]."""

    trajectories: tuple[Trajectory, ...]
    """The rollouts that were played."""

    def __str__(self) -> str:
        """Such as "75.0 % [30.1, 95.4] (3/4), 1 not played: prompt_too_long"."""
        return f"{self.overall}{lost_words(self.not_played)}"

    def kind_words(self, kind: str) -> str:
        """The same for one kind of task."""
        return f"{self.by_kind[kind]}{lost_words(self.not_played_by_kind.get(kind, {}))}"


def lost_words(not_played: Mapping[str, int]) -> str:
    """What follows a rate: how many tasks could not be played, and why.

    >>> lost_words({}), lost_words({"env_error": 2}), lost_words({"env_error": 2, "env_timeout": 1})
    ('', ', 2 not played: env_error', ', 3 not played: 2 env_error, 1 env_timeout')
    """
    if not not_played:
        return ""
    ordered = sorted(not_played.items(), key=lambda entry: (-entry[1], entry[0]))
    reasons = [reason if len(ordered) == 1 else f"{count} {reason}" for reason, count in ordered]
    return f", {sum(not_played.values())} not played: {', '.join(reasons)}"


def play_held_out(
    collector: Collector,
    world: World,
    *,
    count: int | None,
    sampling: Sampling,
    seed: int,
    display: Display,
    finished: Sequence[RolloutGroup] = (),
    on_done: Callable[[Trajectory], None] = lambda _: None,
) -> Collected:
    """One rollout of each of `count` distinct validation tasks (None: all), the same tasks in every run.

    finished: groups of these tasks that need not be played. on_done: called with each rollout as it finishes.
    Raises RolloutsFailed if too many tasks, or all of them, cannot be played.
    """
    tasks = validation_tasks(world.validation, count=count or len(world.validation))
    with display.counting("held-out tasks", len(tasks) - len(finished)) as bar:

        def done(rollout: Trajectory) -> None:
            on_done(rollout)
            bar.advance()

        options = PlayOptions(sampling=sampling, seed=derive_seed(seed, "validation"), on_done=done)
        return asyncio.run(collector.collect(tasks, group_size=1, options=options, finished=finished)).checked()


def evaluation(collected: Collected, kind_of: Callable[[str], str]) -> Evaluation:
    """Sum up a collection with one rollout of each task. kind_of gives a task's label, such as "depth 2".

    Raises ValueError if no task was played.
    """
    rollouts = trajectories(collected.groups)
    lost = [(group.task.task_id, group.reason) for group in collected.counts.dropped]
    kinds = sorted({kind_of(task_id) for task_id in (*(rollout.task_id for rollout in rollouts), *dict(lost))})
    of_kind = {
        kind: (
            [rollout for rollout in rollouts if kind_of(rollout.task_id) == kind],
            [reason for task_id, reason in lost if kind_of(task_id) == kind],
        )
        for kind in kinds
    }
    steps = [step for rollout in rollouts for step in rollout.steps]
    if not steps:
        raise ValueError("an evaluation needs at least one task that was played")
    return Evaluation(
        overall=_rate(rollouts, len(lost)),
        by_kind={kind: _rate(played, len(reasons)) for kind, (played, reasons) in of_kind.items()},
        not_played=Counter(reason for _, reason in lost),
        not_played_by_kind={kind: Counter(reasons) for kind, (_, reasons) in of_kind.items() if reasons},
        mean_score=sum(rollout.score for rollout in rollouts) / (len(rollouts) + len(lost)),
        mean_steps=len(steps) / len(rollouts),
        invalid_share=sum(not step.valid for step in steps) / len(steps),
        trajectories=tuple(rollouts),
    )


def _rate(rollouts: Sequence[Trajectory], lost: int) -> Rate:
    return Rate(wins=sum(rollout.success for rollout in rollouts), total=len(rollouts) + lost)
