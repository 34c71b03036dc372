"""A cell whose results are whole has finished, although it was killed before its record said so."""

import json
from pathlib import Path

import pytest

from tests.trainer.cells.test_launch import cells, run, site, told
from trainer import checkpoint
from trainer.cells.cell import Cell, Outcome, State, cell_of, outcome_of, write_outcome
from trainer.cells.whole import is_whole
from trainer.checkpoint import RunState

ROWS = [{"update": 0, "validation/success": 0.0}, {"update": 1}, {"update": 2, "validation/success": 0.5}]


def trained(cell: Cell, update: int = 2) -> Cell:
    """The cell with what a run of two updates leaves, and a checkpoint after `update`."""
    cell.folder.mkdir(parents=True)
    (cell.folder / "config.json").write_text(json.dumps({"updates": 2, "validation": {"every": 5}}))
    (cell.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    state = RunState(update=update, settings={}, estimator={}, tracking=None)
    checkpoint.commit(checkpoint.begin(cell.folder, state), keep=1)
    return cell


def test_a_run_that_was_killed_after_its_last_checkpoint_has_finished(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, "finish")
    write_outcome(Outcome(cell=trained(cell), state=State.REFUSED, line="updates=2, but it has done 2", seconds=7.0))
    assert run([cell], site(tmp_path)) == [State.FINISHED]
    assert told(tmp_path) == []
    assert outcome_of(cell) == Outcome(cell=cell, state=State.FINISHED, seconds=7.0)


def test_a_run_goes_on_where_its_last_checkpoint_is_an_earlier_one(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, "finish")
    trained(cell, update=1)
    run([cell], site(tmp_path))
    assert told(tmp_path) == ["finish -"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", '{"updates": 3}'),  # raised since
        ("config.json", '{"upd'),
        ("metrics.jsonl", '{"update": 1}\n{"upd'),
        ("metrics.jsonl", '{"update": 2}\n'),  # without the last validation
        ("metrics.jsonl", ""),
        ("checkpoints/latest", "update-000001"),
        ("checkpoints/update-000002/state.json", "{}"),  # not as its checksum says
    ],
)
def test_a_run_that_lacks_a_part_is_not_whole(tmp_path: Path, file: str, text: str) -> None:
    cell = trained(cell_of("train", ["seed=1"], tmp_path))
    assert is_whole(cell)
    (cell.folder / file).write_text(text)
    assert not is_whole(cell)


def test_an_evaluation_has_finished_with_its_last_file(tmp_path: Path) -> None:
    cell = cell_of("evaluate", ["seed=1"], tmp_path)
    assert not is_whole(cell)
    cell.folder.mkdir(parents=True)
    (cell.folder / "evaluation.json").write_text('{"overall": {}, "tas')
    assert not is_whole(cell)
    (cell.folder / "evaluation.json").write_text('{"overall": {}, "tasks": []}')
    assert is_whole(cell)


def test_a_warm_start_has_finished_with_its_model_and_not_with_half_of_it(tmp_path: Path) -> None:
    cell = cell_of("warmstart", ["seed=1"], tmp_path, resumes=False)
    for name in (".model.partial", "model"):
        assert not is_whole(cell)
        (cell.folder / name).mkdir(parents=True)
        (cell.folder / name / "config.json").write_text("{}")
        (cell.folder / name / "model.safetensors").write_text("weights")
    assert is_whole(cell)


def test_other_commands_run_again(tmp_path: Path) -> None:
    cell = trained(cell_of("lab learn", ["seed=1"], tmp_path))
    assert not is_whole(cell)
