"""IBPO's revision phase (2605.16302): the policy plays its failures again, each shown beside a sibling's attempt."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from string import Formatter
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Interval
from rapidfuzz.distance import Levenshtein

from rollout.collect import Collector
from rollout.collection import Job, PlayCounts, PlayOptions
from rollout.types import Revision, RolloutGroup, Task, Trajectory

Bool = npt.NDArray[np.bool_]
Mode = Literal["revise", "retry", "intervene"]
NEEDED, KNOWN = frozenset({"task", "attempt", "reference"}), frozenset({"task", "attempt", "reference", "outcome"})
PROMPT = """{task}

Failed attempt:
{attempt}

Another attempt, which {outcome}:
{reference}

Solve the task. Change no more of the failed attempt than you must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviseConfig:
    """How failed rollouts are revised (IBPO, 2605.16302).

    Raises ValueError for a prompt that lacks a required field or has an unknown one.
    """

    prompt: str = PROMPT
    """What replaces the task in the prompts of a revision. {task} is the world's first observation, {attempt} the
    failed rollout, {reference} a sibling's rollout, {outcome} "succeeded" or "failed". The first three are required."""

    references: Annotated[int, Ge(1)] = 2
    """Siblings that each failed rollout is revised beside, one revision each. The paper's K - 1."""

    credit: Annotated[float, Interval(gt=0, le=1)] = 0.5
    """What a successful revision adds to the repair signal s of its rollout. The paper's rho."""

    mode: Mode = "revise"
    """How a failure is tried again. "revise" plays it anew for an estimator that asks for revisions, as IBPO does.
    "retry" and "intervene" take it up at its pivot, for any other estimator: the retry joins its group (R3L
    2601.03715), or, if it succeeded, its steps up to the pivot, that one too, are learned beside the estimator's credit
    (InT 2601.14209)."""

    weight: Annotated[float, Gt(0)] = 1.0
    """What advantages above 0 are multiplied with under mode=retry, R3L's alpha; the advantage of the steps that
    mode=intervene teaches. mode=revise does not read it."""

    def __post_init__(self) -> None:
        check_prompt("revise.prompt", self.prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revised:
    """The result of a revision phase."""

    groups: tuple[RolloutGroup, ...]
    """The groups that were given, with their revisions or retries."""
    rollouts: int
    """Failed rollouts that were revised."""
    requested: int
    """Revisions of them that were to be played, including those that failed for good."""
    counts: PlayCounts
    """What went wrong on the way."""


def check_prompt(name: str, prompt: str) -> None:
    """Raise ValueError for a prompt of revisions that lacks a required field or has an unknown one."""
    try:
        fields = {field for _, field, _, _ in Formatter().parse(prompt) if field is not None}
    except ValueError as error:
        raise ValueError(f"{name} is no template ({error}): write {{{{ and }}}} for braces") from error
    if missing := NEEDED - fields:
        raise ValueError(f"{name} does not show {{{min(missing)}}}: a revision needs {sorted(NEEDED)}")
    if unknown := fields - KNOWN:
        raise ValueError(f"{name} asks for {{{min(unknown)}}}: known are {sorted(KNOWN)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One turn of an attempt that a revision is shown."""

    response: str
    """The policy's answer, verbatim."""
    action: str
    """What the world was given."""


def revision_text(prompt: str, *, task: str, failed: Sequence[Said], reference: Sequence[Said], won: bool) -> str:
    """What a revision is shown in place of the task. An attempt of one turn is shown verbatim, a longer one by actions.

    prompt: `ReviseConfig.prompt`. task: the world's first observation. won: whether the reference solved the task.
    """
    outcome = "succeeded" if won else "failed"
    return prompt.format(task=task, attempt=_attempt(failed), reference=_attempt(reference), outcome=outcome)


async def revise(
    collector: Collector, groups: Sequence[RolloutGroup], *, config: ReviseConfig, options: PlayOptions
) -> Revised:
    """Consumes finished groups, waits for revisions of all their failures at once, produces the groups with them.

    A revision is a rollout of the same task from the same seed of the world; only the prompt differs (reading: the
    paper's tasks have one turn). A revision that cannot be played repairs nothing and is counted. If the failures were
    collected with the same `options.max_idle_turns`, a revision that succeeds has changed something.
    """
    pairs = failures(groups, config)
    jobs = [revision_job(number, failed, reference, config.prompt) for number, failed, reference in pairs]
    played = await collector.play(jobs, options)
    revisions: list[list[Revision]] = [[] for _ in groups]
    for (number, _, reference), revised in zip(pairs, played.rollouts, strict=True):
        if revised is not None:
            credit = config.credit if revised.success else 0.0
            revisions[number].append(Revision(trajectory=revised, reference=reference.sibling, credit=credit))
    return Revised(
        groups=tuple(replace(group, revisions=tuple(own)) for group, own in zip(groups, revisions, strict=True)),
        rollouts=len({(number, failed.sibling) for number, failed, _ in pairs}),
        requested=len(jobs),
        counts=played.counts,
    )


def failures(groups: Sequence[RolloutGroup], config: ReviseConfig) -> list[tuple[int, Trajectory, Trajectory]]:
    """(number of the group, failed rollout, sibling that it is shown beside) for all that are tried again."""
    return [
        (number, failed, reference)
        for number, group in enumerate(groups)
        for failed in group.trajectories
        if not failed.success
        for reference in references(group, failed, config.references)
    ]


def references(group: RolloutGroup, failed: Trajectory, count: int) -> list[Trajectory]:
    """The siblings that a failure is shown beside: successes first, at most `count`.

    Reading: among equals, the siblings that follow the failure come first, counted round from the last to the first,
    so that different failures see different siblings.
    """
    size = len(group.trajectories)
    others = [rollout for rollout in group.trajectories if rollout.sibling != failed.sibling]
    return sorted(others, key=lambda other: (not other.success, (other.sibling - failed.sibling) % size))[:count]


def repairs(group: RolloutGroup) -> npt.NDArray[np.float64]:
    """s of each rollout, in [0, 1]. [siblings]

    s = min(1, sum of its revisions' credit)
    """
    total = np.zeros(len(group.trajectories))
    for revision in group.revisions or ():
        total[revision.trajectory.sibling] += revision.credit
    return np.minimum(total, 1.0)


def edits(group: RolloutGroup) -> Iterator[Bool]:
    """For each step, siblings in order: which response tokens the successful revisions changed. bool [R]

    The changes of all successful revisions of a rollout count together. If rollout and revision have one turn each,
    they are compared token by token. Otherwise they are compared action by action, and all tokens of a changed action
    are marked.
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
    """Places of `before` that the Levenshtein edits into `after` touch, in ascending order.

    Reading: an insertion touches the place it goes to, because what stood there came too soon. An insertion at the end
    touches nothing.

    >>> changed("abc", "ac"), changed("ac", "abc"), changed("abc", "axc"), changed("ab", "abc")
    ([1], [1], [1], [])
    """
    return sorted({edit.src_pos for edit in Levenshtein.editops(before, after)} - {len(before)})


def _mark(marks: Sequence[Bool], failed: Trajectory, revised: Trajectory) -> None:
    """Set, in place, the marks of what `revised` changed of `failed`."""
    if len(failed.steps) == len(revised.steps) == 1:
        before, after = (rollout.steps[0].completion.token_ids.tolist() for rollout in (failed, revised))
        marks[0][changed(before, after)] = True
        return
    for place in changed(actions(failed), actions(revised)):
        marks[place][:] = True


def actions(rollout: Trajectory) -> list[Hashable]:
    """The actions to compare. An invalid response has an action that equals no other."""
    return [step.action if step.valid else object() for step in rollout.steps]


def revision_job(number: int, failed: Trajectory, reference: Trajectory, prompt: str) -> Job:
    """A revision of the failure, which is played from its beginning."""
    task_text = revision_text(
        prompt,
        task=failed.steps[0].observation,
        failed=_said(failed),
        reference=_said(reference),
        won=reference.success,
    )
    task = Task(number=number, task_id=failed.task_id, seed=failed.seed)
    key = (number, failed.sibling, reference.sibling)
    return Job(task=task, sibling=failed.sibling, key=key, task_text=task_text)


def _said(rollout: Trajectory) -> list[Said]:
    return [Said(response=step.completion.text, action=step.action) for step in rollout.steps]


def _attempt(turns: Sequence[Said]) -> str:
    """Verbatim if it has one turn, since its tokens are revised; else its actions."""
    if len(turns) == 1:
        return turns[0].response
    return "\n".join(turn.action for turn in turns)
