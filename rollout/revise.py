"""IBPO's revision phase (2605.16302): the policy plays its failures anew, shown each beside an attempt of a sibling."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from string import Formatter
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Interval
from rapidfuzz.distance import Levenshtein

from rollout.collect import Collector, Job, Task
from rollout.types import Revision, RolloutGroup, Sampling, Trajectory

Bool = npt.NDArray[np.bool_]
NEEDED, KNOWN = frozenset({"task", "attempt", "reference"}), frozenset({"task", "attempt", "reference", "outcome"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviseConfig:
    """How failed rollouts are revised (IBPO, 2605.16302).

    Raises ValueError for a prompt that lacks a required field or has an unknown one.
    """

    prompt: str
    """What replaces the task in the prompts of a revision. {task} is the world's first observation, {attempt} the
    failed rollout, {reference} a sibling's rollout, {outcome} "succeeded" or "failed". The first three are required."""

    references: Annotated[int, Ge(1)] = 2
    """Siblings that each failed rollout is revised beside, one revision each. The paper's K - 1."""

    credit: Annotated[float, Interval(gt=0, le=1)] = 0.5
    """What a successful revision adds to the repair signal s of its rollout. The paper's rho."""

    def __post_init__(self) -> None:
        try:
            fields = {name for _, name, _, _ in Formatter().parse(self.prompt) if name is not None}
        except ValueError as error:
            raise ValueError(f"revise.prompt is no template ({error}): write {{{{ and }}}} for braces") from error
        if missing := NEEDED - fields:
            raise ValueError(f"revise.prompt does not show {{{min(missing)}}}: a revision needs {sorted(NEEDED)}")
        if unknown := fields - KNOWN:
            raise ValueError(f"revise.prompt asks for {{{min(unknown)}}}: known are {sorted(KNOWN)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revised:
    """Groups with their revisions, and what the phase took.

    rollouts: failed ones that were revised. asked: revisions of them, those that could not be played included, which
    `failures` counts by reason (retried or given up). cut_prompts: as in `Collected`.
    """

    groups: tuple[RolloutGroup, ...]
    rollouts: int
    asked: int
    failures: Mapping[str, int]
    cut_prompts: int


async def revise(
    collector: Collector,
    groups: Sequence[RolloutGroup],
    *,
    config: ReviseConfig,
    sampling: Sampling,
    seed: int,
    patience: int | None = None,
) -> Revised:
    """Consumes finished groups, waits for revisions of all their failures at once, produces the groups with them.

    A revision is a rollout of the same task from the same seed of the world; what differs is the prompt (reading: the
    paper's tasks have one turn). One that cannot be played repairs nothing and is counted. seed, patience: as
    for `Collector.collect`; with the failures' own patience a revision that succeeds always changed something.
    """
    wanted = [
        (number, failed, reference)
        for number, group in enumerate(groups)
        for failed in group.trajectories
        if not failed.success
        for reference in references(group, failed, config.references)
    ]
    jobs = [_job(number, failed, reference, config.prompt) for number, failed, reference in wanted]
    played = await collector.play(jobs, sampling=sampling, seed=seed, patience=patience)
    made: list[list[Revision]] = [[] for _ in groups]
    for (number, _, reference), revised in zip(wanted, played.rollouts, strict=True):
        if revised is not None:
            credit = config.credit if revised.success else 0.0
            made[number].append(Revision(trajectory=revised, reference=reference.sibling, credit=credit))
    return Revised(
        groups=tuple(replace(group, revisions=tuple(mine)) for group, mine in zip(groups, made, strict=True)),
        rollouts=len({(number, failed.sibling) for number, failed, _ in wanted}),
        asked=len(jobs),
        failures=played.failures,
        cut_prompts=played.cut_prompts,
    )


def references(group: RolloutGroup, failed: Trajectory, count: int) -> list[Trajectory]:
    """The siblings that a failure is shown beside, at most `count`: successes first.

    Reading: among equals those that follow it, and from the last on the first, so that failures see different ones.
    """
    size = len(group.trajectories)
    others = [one for one in group.trajectories if one.sibling != failed.sibling]
    return sorted(others, key=lambda one: (not one.success, (one.sibling - failed.sibling) % size))[:count]


def repairs(group: RolloutGroup) -> npt.NDArray[np.float64]:
    """s of every rollout: what its revisions earned together, at most 1. [siblings]"""
    earned = np.zeros(len(group.trajectories))
    for revision in group.revisions or ():
        earned[revision.trajectory.sibling] += revision.credit
    return np.minimum(earned, 1.0)


def edits(group: RolloutGroup) -> Iterator[Bool]:
    """Which response tokens the successful revisions changed, together: bool [R] of every step, siblings in order.

    A rollout of one turn that was revised in one turn is compared token by token, any other action by action; of an
    action that was changed all tokens are.
    """
    marks = [
        [np.zeros(len(step.completion.token_ids), np.bool_) for step in rollout.steps] for rollout in group.trajectories
    ]
    for revision in group.revisions or ():
        revised = revision.trajectory
        if revised.success:
            _mark(marks[revised.sibling], group.trajectories[revised.sibling], revised)
    return (mark for steps in marks for mark in steps)


def changed(before: Sequence[Hashable], after: Sequence[Hashable]) -> list[int]:
    """Places of `before` that Levenshtein's edits into `after` touch.

    Reading: where something was inserted, the place it went to is touched: what stood there came too soon.

    >>> changed("abc", "ac"), changed("ac", "abc"), changed("abc", "axc"), changed("ab", "abc")
    ([1], [1], [1], [])
    """
    return sorted({edit.src_pos for edit in Levenshtein.editops(before, after)} - {len(before)})


def _mark(marks: Sequence[Bool], failed: Trajectory, revised: Trajectory) -> None:
    """Set what `revised` changed of `failed`, in place."""
    if len(failed.steps) == len(revised.steps) == 1:
        before, after = (one.steps[0].completion.token_ids.tolist() for one in (failed, revised))
        marks[0][changed(before, after)] = True
        return
    for place in changed(_actions(failed), _actions(revised)):
        marks[place][:] = True


def _actions(rollout: Trajectory) -> list[Hashable]:
    """The action keys; a response that names no action has one of its own."""
    return [step.action if step.valid else object() for step in rollout.steps]


def _job(number: int, failed: Trajectory, reference: Trajectory, prompt: str) -> Job:
    told = prompt.format(
        task=failed.steps[0].observation,
        attempt=_attempt(failed),
        reference=_attempt(reference),
        outcome="succeeded" if reference.success else "failed",
    )
    task = Task(number=number, task_id=failed.task_id, seed=failed.seed)
    return Job(task=task, sibling=failed.sibling, key=(number, failed.sibling, reference.sibling), told=told)


def _attempt(rollout: Trajectory) -> str:
    """An attempt of one turn word for word, for that is what is revised; a longer one as its actions, one a line."""
    if len(rollout.steps) == 1:
        return rollout.steps[0].completion.text
    return "\n".join(step.action for step in rollout.steps)
