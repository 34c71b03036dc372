"""The numbers of a run as JSON lines: what reads them needs neither torch nor wandb."""

import json
from pathlib import Path

from trainer.durable import write_whole

METRICS = "metrics.jsonl"


def read_metrics(output: Path) -> list[dict[str, float]]:
    """All rows of a run, oldest first."""
    return [json.loads(line) for line in (output / METRICS).read_text().splitlines()]


def drop_rows(path: Path, first: int) -> None:
    """Delete the rows from update `first` on, and a last line that a kill cut short. The file is replaced whole."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    write_whole(path, "".join(line for line in lines if line.endswith("\n") and json.loads(line)["update"] < first))
