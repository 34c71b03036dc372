"""The table of rows: one order, built once, and what a revision phase says is computed once."""

from dataclasses import replace

import numpy as np
import pytest

from rollout import revise
from rollout.types import Revision, RolloutGroup
from tests.fakes import completion, group, plain, step, trajectory
from trainer.data import rows
from trainer.data.columns import step_batch, token_mask
from trainer.data.rows import Row, RowTable, trajectories

GO, STOP, FLY = step("go"), step("stop", state="1"), step("fly", valid=False)
# Two groups. The first has rollouts of 2 steps and 1 step, the second one rollout of 2 steps.
GROUPS = (group((GO, STOP), (FLY,), task_id="a", won=[True]), group((GO, FLY), task_id="b"))


def revised() -> tuple[RolloutGroup, ...]:
    """`GROUPS` after a revision phase that repaired the second rollout: 7 2 became 8 2."""
    mended = trajectory(step(said=completion(tokens=[8, 2])), task_id="a", sibling=1, won=True)
    first, second = GROUPS
    return (
        replace(first, revisions=(Revision(trajectory=mended, reference=0, credit=0.5),)),
        replace(second, revisions=()),
    )


def test_rows_are_ordered_by_group_then_sibling_then_time() -> None:
    assert RowTable(GROUPS).rows == (
        Row(group=0, trajectory=0, time=0, step=GO),
        Row(group=0, trajectory=0, time=1, step=STOP),
        Row(group=0, trajectory=1, time=0, step=FLY),
        Row(group=1, trajectory=2, time=0, step=GO),
        Row(group=1, trajectory=2, time=1, step=FLY),
    )


def test_a_table_gives_its_rows_and_its_steps_in_the_same_order() -> None:
    table = RowTable(GROUPS)
    assert tuple(table) == table.rows
    assert table.steps == [GO, STOP, FLY, GO, FLY]
    assert len(table) == 5


def test_trajectories_come_in_row_order() -> None:
    assert [(rollout.task_id, rollout.sibling) for rollout in trajectories(GROUPS)] == [("a", 0), ("a", 1), ("b", 0)]


@pytest.mark.parametrize("groups", [(), (RolloutGroup(task_id="a", seed=0, trajectories=()),)])
def test_a_table_without_rollouts_is_refused(groups: tuple[RolloutGroup, ...]) -> None:
    with pytest.raises(ValueError, match="every group was dropped"):
        RowTable(groups)


def test_a_revision_phase_gives_every_row_its_repair_score_and_its_edits() -> None:
    table = RowTable(revised())
    assert plain(table.repair) == plain(np.array([0.0, 0.0, 0.5, 0.0, 0.0]))
    assert table.edits is not None
    assert [mark.tolist() for mark in table.edits] == [[False, False]] * 2 + [[True, False]] + [[False, False]] * 2


def test_edits_are_computed_once_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def counting(of: RolloutGroup):
        compared.append(of.task_id)
        return revise.edits(of)

    monkeypatch.setattr(rows, "edits", counting)
    table = RowTable(revised())
    assert compared == []
    step_batch(table, embedding=None)
    token_mask(table)
    assert compared == ["a", "b"]


@pytest.mark.parametrize("groups", [GROUPS, (revised()[0], GROUPS[1])], ids=["no group", "one group of two"])
def test_without_a_revision_phase_in_every_group_there_are_no_edits(
    groups: tuple[RolloutGroup, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "edits", None)
    table = RowTable(groups)
    assert (table.revised, table.repair, table.edits) == (False, None, None)
