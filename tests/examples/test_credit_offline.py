"""examples/credit_offline.py reads what a run recorded and compares estimators row by row."""

from collections.abc import Callable
from pathlib import Path

from rollout.record import write_groups
from tests.fakes import group, step


def test_a_line_a_row_with_the_credit_of_each_estimator(example: Callable[..., list[str]], tmp_path: Path) -> None:
    won, lost = [step("go", state="0"), step("go", state="1", reward=8.0)], [step("stop", state="0")]
    write_groups(tmp_path / "update-000001.jsonl.zst", [group(won, lost, won=[True])])
    head, *rows = example("credit_offline.py", str(tmp_path / "update-000001.jsonl.zst"), "rloo", "gigpo")
    assert head.split() == ["task", "rollout", "turn", "action", "rloo", "gigpo"]
    assert [row.split()[:5] for row in rows] == [
        ["2", "0", "0", "go", "+8.00"],
        ["2", "0", "1", "go", "+8.00"],
        ["2", "1", "0", "stop", "-8.00"],
    ]
    # gigpo adds a term for the state that both rollouts stood in, and none for the one that a single row saw.
    assert float(rows[0].split()[5]) > float(rows[1].split()[5]) > float(rows[2].split()[5])
