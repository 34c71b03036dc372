"""A few rollouts of a validation as a table: what the dashboards show of what the policy does."""

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.types import Step, Trajectory

COLUMNS = ("task", "goal", "turns", "actions", "ending", "success", "score")
"""The fields of a `Shown`, in the order of a table's columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One rollout."""

    task: str
    """The world's name of the task."""
    goal: str
    """The world's first observation."""
    turns: int
    """Number of steps."""
    actions: str
    """The actions, numbered from 1, a line each; one that the world could not read is marked."""
    ending: str
    """Why the rollout is over."""
    success: bool
    """The task was solved."""
    score: float
    """The world's progress measure at the end."""


def shown(rollouts: Sequence[Trajectory]) -> list[Shown]:
    """The rollouts as rows, in their order."""
    return [
        Shown(
            task=rollout.task_id,
            goal=rollout.steps[0].observation,
            turns=len(rollout.steps),
            actions="\n".join(_line(number, step) for number, step in enumerate(rollout.steps, start=1)),
            ending=rollout.ending.value,
            success=rollout.success,
            score=rollout.score,
        )
        for rollout in rollouts
    ]


def markdown(rollouts: Sequence[Shown]) -> str:
    """The table as Markdown, each rollout in a line."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    lines += [tuple(_cell(str(getattr(rollout, name))) for name in COLUMNS) for rollout in rollouts]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(number: int, step: Step) -> str:
    return f"{number}. {step.action}" + ("" if step.valid else " (invalid)")


def _cell(text: str) -> str:
    """A text as a cell of a Markdown table.

    >>> _cell("a|b <c>\\nd")
    'a\\\\|b &lt;c&gt;<br>d'
    """
    escaped = text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("\n", "<br>")
