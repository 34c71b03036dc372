"""The outcome of each task of each validation of a run, on disk: what intervals over tasks are made from."""

import json
from collections.abc import Mapping
from pathlib import Path

FILE = "validations.jsonl"
"""In a run's folder: one line of JSON for each validation."""


def write_validation(output: Path, update: int, outcomes: Mapping[str, tuple[bool, float]]) -> None:
    """Add the validation after an update. outcomes: task id -> success and score; False and 0 for one not played.

    A resumed run may write an update again; the last line of an update counts.
    """
    path = output / FILE
    cut_short = path.is_file() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        line = json.dumps({"update": update, "tasks": {name: [won, score] for name, (won, score) in outcomes.items()}})
        file.write(("\n" if cut_short else "") + line + "\n")


def read_validations(output: Path) -> dict[int, dict[str, tuple[bool, float]]]:
    """Update -> task id -> success and score. Empty without the file. A line cut short by a kill is left out."""
    path = output / FILE
    kept = dict[int, dict[str, tuple[bool, float]]]()
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        kept[row["update"]] = {name: (bool(won), float(score)) for name, (won, score) in row["tasks"].items()}
    return dict(sorted(kept.items()))
