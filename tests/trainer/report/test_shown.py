"""The dashboards show the same few tasks of every validation."""

import pytest

from rollout.collect import Collected
from rollout.collection import DroppedGroup, PlayCounts
from tests.fakes import group, step, tasks
from trainer.evaluation import evaluation
from trainer.report.shown import Shown, shown

GROUPS = {name: group((step("go"), step("fly", valid=False, state="1")), task_id=name, won=[True]) for name in "12345"}


@pytest.mark.parametrize(
    ("lost", "count", "expected"),
    [
        ("", 2, ["1", "3"]),
        ("3", 2, ["1"]),  # no other takes its place
        ("12", 9, ["3", "4", "5"]),
        ("", 0, []),
    ],
)
def test_the_tasks_do_not_depend_on_which_of_them_are_lost(lost: str, count: int, expected: list[str]) -> None:
    played = tuple(one for name, one in reversed(GROUPS.items()) if name not in lost)
    dropped = tuple(DroppedGroup(task=task, reason="env_error") for task in tasks(*lost))
    result = evaluation(Collected(groups=played, counts=PlayCounts(dropped=dropped)), str)
    assert [one.task for one in shown(result.rollouts_of(count))] == expected


def test_a_rollout_is_shown_by_its_goal_and_its_actions() -> None:
    (one,) = shown(GROUPS["2"].trajectories)
    assert one == Shown(
        task="2",
        goal="at 0",
        turns=2,
        actions="1. go\n2. fly (invalid)",
        ending="success",
        success=True,
        score=1.0,
    )
