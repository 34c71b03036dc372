"""The numbers of a run as JSON lines: what reads them needs neither torch nor wandb."""

import json
from pathlib import Path

from trainer.durable import write_whole

METRICS = "metrics.jsonl"


def read_metrics(output: Path) -> list[dict[str, float]]:
    """All rows of a run, oldest first."""
    return [json.loads(line) for line in (output / METRICS).read_text().splitlines()]


def rows_so_far(file: Path) -> list[dict[str, float]]:
    """The rows of a run that may still be going on. A line that is being written is left for later."""
    return [json.loads(line) for line in _whole_lines(file)]


def drop_rows(file: Path, first: int) -> None:
    """Delete the rows from update `first` on, and a last line that a kill cut short. The file is replaced whole."""
    write_whole(file, "".join(line for line in _whole_lines(file) if json.loads(line)["update"] < first))


def _whole_lines(file: Path) -> list[str]:
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [line for line in lines if line.endswith("\n")]
