"""Success on held-out tasks: rates with intervals, overall and by kind of task.

Every task counts once, however many of its rollouts were played. A rollout that could not be played counts as not
solved, so that a rate is always of all rollouts that were asked for.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from rollout.collect import Collected, Collector
from rollout.collection import Job, PlayOptions
from rollout.seeds import derive_seed
from rollout.types import RolloutGroup, Sampling, Task, Trajectory
from trainer.data.rows import trajectories
from trainer.data.tasks import spread, validation_tasks
from trainer.report.progress import Display
from trainer.report.rate import Rate
from trainer.setup.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What became of one task."""

    task_id: str
    """The world's name of the task."""

    kind: str
    """The label under which results on it are reported."""

    wins: int
    """Rollouts that solved it."""

    samples: int
    """Rollouts that were asked for."""

    lost: int
    """Those of `samples` that could not be played."""

    score: float
    """Mean score of all its samples, on the world's own scale. A lost one scores 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The result of one pass over held-out tasks, one or several rollouts each."""

    overall: Rate
    """Success on all tasks. A rollout that could not be played counts as not solved."""

    by_kind: dict[str, Rate]
    """Success by kind of task, such as "depth 2", in alphabetical order, counted as in `overall`."""

    not_played: Mapping[str, int]
    """Rollouts that could not be played, by the reason of the last failure."""

    not_played_by_kind: Mapping[str, Mapping[str, int]]
    """The same by kind of task; a kind that was played whole is left out."""

    mean_score: float
    """Mean score of all tasks, on the world's own scale. A rollout that could not be played scores 0."""

    mean_steps: float
    """Mean over tasks of the mean number of steps (agent turns) of their rollouts that were played."""

    invalid_share: float
    """Share of all steps whose action the world could not read, in [0, 1]."""

    trajectories: tuple[Trajectory, ...]
    """The rollouts that were played."""

    tasks: tuple[TaskResult, ...]
    """Each task once."""

    def __str__(self) -> str:
        """Such as "75.0 % [30.1, 95.4] (3/4), 1 not played: prompt_too_long"."""
        return f"{self.overall}{lost_words(self.not_played)}"

    def rollouts_of(self, count: int) -> list[Trajectory]:
        """The rollouts of `count` tasks, the same tasks in every validation of a panel; lost ones are left out."""
        chosen = spread(sorted(task.task_id for task in self.tasks), count) if count else []
        ordered = sorted(self.trajectories, key=lambda rollout: rollout.task_id)
        return [rollout for rollout in ordered if rollout.task_id in chosen]

    def kind_words(self, kind: str) -> str:
        """As str(), for one kind of task."""
        return f"{self.by_kind[kind]}{lost_words(self.not_played_by_kind.get(kind, {}))}"


def lost_words(not_played: Mapping[str, int]) -> str:
    """What follows a rate: how many rollouts could not be played, and why.

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
    samples: int = 1,
    sampling: Sampling,
    seed: int,
    display: Display,
    finished: Sequence[RolloutGroup] = (),
    on_done: Callable[[Trajectory], None] = lambda _: None,
) -> Collected:
    """`samples` rollouts of each of `count` distinct validation tasks (None: all), the same tasks in every run.

    The seeds of a rollout follow from its task and its number among the task's samples alone.
    finished: rollouts of these tasks that need not be played. on_done: called with each rollout as it finishes.
    Raises RolloutsFailed if too many rollouts, or all of them, cannot be played.
    """
    tasks = validation_tasks(world.validation, count=count or len(world.validation))
    kept = {(rollout.task_id, rollout.sibling): rollout for rollout in trajectories(finished)}
    jobs = [job for task in tasks for job in _samples(task, samples)]
    missing = [job for job in jobs if (job.task.task_id, job.sibling) not in kept]
    with display.counting("held-out rollouts" if samples > 1 else "held-out tasks", len(missing)) as bar:

        def done(rollout: Trajectory) -> None:
            on_done(rollout)
            bar.advance()

        options = PlayOptions(sampling=sampling, seed=derive_seed(seed, "validation"), seeds_by_task=True, on_done=done)
        share = collector.config.max_failure_share
        played = asyncio.run(collector.play(missing, options, max_failure_share=share, num_groups=len(jobs)))
    kept |= {(rollout.task_id, rollout.sibling): rollout for rollout in played.rollouts if rollout is not None}
    of_tasks = [(task, [kept.get((task.task_id, sample)) for sample in range(samples)]) for task in tasks]
    groups = tuple(
        RolloutGroup(task_id=task.task_id, seed=task.seed, trajectories=tuple(filter(None, rollouts)))
        for task, rollouts in of_tasks
        if any(rollouts)
    )
    return Collected(groups=groups, counts=played.counts, usage=played.usage).checked()


def _samples(task: Task, count: int) -> list[Job]:
    """The rollouts of a task. Each has a number of its own, so one that fails does not drop the task's others."""
    numbers = range(task.number * count, (task.number + 1) * count)
    return [
        Job(task=replace(task, number=number), sibling=sample, key=(number, sample))
        for sample, number in enumerate(numbers)
    ]


def evaluation(collected: Collected, kind_of: Callable[[str], str]) -> Evaluation:
    """Sum up a collection of held-out tasks. kind_of gives a task's label, such as "depth 2".

    Raises ValueError if no task was played.
    """
    rollouts = trajectories(collected.groups)
    lost = [(group.task.task_id, group.reason) for group in collected.counts.dropped]
    tasks = _task_results(rollouts, [task_id for task_id, _ in lost], kind_of)
    kinds = sorted({task.kind for task in tasks})
    reasons = {kind: Counter(reason for task_id, reason in lost if kind_of(task_id) == kind) for kind in kinds}
    steps = [step for rollout in rollouts for step in rollout.steps]
    if not steps:
        raise ValueError("an evaluation needs at least one task that was played")
    return Evaluation(
        overall=rate_of(tasks),
        by_kind={kind: rate_of([task for task in tasks if task.kind == kind]) for kind in kinds},
        not_played=Counter(reason for _, reason in lost),
        not_played_by_kind={kind: counts for kind, counts in reasons.items() if counts},
        mean_score=fmean(task.score for task in tasks),
        mean_steps=fmean(fmean(len(rollout.steps) for rollout in group.trajectories) for group in collected.groups),
        invalid_share=sum(not step.valid for step in steps) / len(steps),
        trajectories=tuple(rollouts),
        tasks=tuple(tasks),
    )


def _task_results(
    rollouts: Sequence[Trajectory], lost: Sequence[str], kind_of: Callable[[str], str]
) -> list[TaskResult]:
    """Each task once, in the order in which it is met. lost: the task of each rollout that could not be played."""
    played: defaultdict[str, list[Trajectory]] = defaultdict(list)
    for rollout in rollouts:
        played[rollout.task_id].append(rollout)
    num_lost = Counter(lost)
    return [
        TaskResult(
            task_id=task_id,
            kind=kind_of(task_id),
            wins=sum(rollout.success for rollout in played[task_id]),
            samples=(samples := len(played[task_id]) + num_lost[task_id]),
            lost=num_lost[task_id],
            score=sum(rollout.score for rollout in played[task_id]) / samples,
        )
        for task_id in (*played, *(task_id for task_id in num_lost if task_id not in played))
    ]


def rate_of(tasks: Sequence[TaskResult]) -> Rate:
    """The success on some tasks, each of which was played equally often."""
    wins = tuple(task.wins for task in tasks)
    total = sum(task.samples for task in tasks)
    return Rate(wins=sum(wins), total=total, by_task=wins if total > len(tasks) else ())
