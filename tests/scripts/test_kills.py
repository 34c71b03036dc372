"""What counts as a difference between the run that nobody killed and the one that was killed."""

import json
from pathlib import Path
from typing import Any

from scripts.kills import differences, half_written


def run(folder: Path, rows: list[dict[str, Any]], rollouts: dict[str, str]) -> Path:
    (folder / "rollouts").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in rollouts.items():
        (folder / "rollouts" / name).write_text(text)
    return folder


def test_runs_that_differ_in_what_a_clock_measures_are_equal(tmp_path: Path) -> None:
    one = run(tmp_path / "one", [{"update": 1, "learn/loss": 0.5, "seconds/learn": 1.0}], {"a": "x"})
    two = run(tmp_path / "two", [{"update": 1, "learn/loss": 0.5, "seconds/learn": 2.0}], {"a": "x"})
    assert differences(one, two) == []


def test_another_loss_another_row_and_another_rollout_are_told(tmp_path: Path) -> None:
    one = run(tmp_path / "one", [{"update": 1, "learn/loss": 0.5}], {"a": "x", "b": "x"})
    two = run(tmp_path / "two", [{"update": 1, "learn/loss": 0.25}, {"update": 2}], {"a": "y"})
    assert differences(one, two) == [
        "row 1: learn/loss 0.5 0.25",
        "row 2: update None 2",
        "rollouts/a differs",
        "rollouts/b is in one of them only",
    ]


def test_a_checkpoint_is_half_written_while_its_partial_folder_is_there(tmp_path: Path) -> None:
    assert not half_written(tmp_path)
    (tmp_path / "checkpoints" / "update-000001").mkdir(parents=True)
    assert not half_written(tmp_path)
    (tmp_path / "checkpoints" / ".update-000002.partial").mkdir()
    assert {path.name for path in half_written(tmp_path)} == {".update-000002.partial"}
