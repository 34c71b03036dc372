"""Numbers of a run: a JSON line an update, TensorBoard, and wandb (the one file that knows it)."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from torch.utils.tensorboard import SummaryWriter

from trainer.config import LogConfig

METRICS = "metrics.jsonl"


class MetricLog:
    """Writes one row of numbers per update everywhere at once. A resumed run drops rows after its checkpoint first."""

    def __init__(
        self, output: Path, config: LogConfig, *, settings: Mapping[str, Any], resumed_at: int, tracking: str | None
    ) -> None:
        self._path = output / METRICS
        _keep_rows(self._path, resumed_at)
        self._board = (
            SummaryWriter(str(output / "tensorboard"), purge_step=resumed_at + 1) if config.tensorboard else None
        )
        self._wandb = _start_wandb(output, config, settings, tracking)

    @property
    def tracking(self) -> str | None:
        """The wandb run's id, for resuming it."""
        return self._wandb.id if self._wandb else None

    def write(self, update: int, numbers: Mapping[str, float]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"update": update, **numbers}) + "\n")
        if self._board:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, update)
            self._board.flush()
        if self._wandb:
            self._wandb.log(dict(numbers), step=update)

    def close(self) -> None:
        if self._board:
            self._board.close()
        if self._wandb:
            self._wandb.finish(quiet=True)


def read_metrics(output: Path) -> list[dict[str, float]]:
    """All rows of a run, oldest first."""
    return [json.loads(line) for line in (output / METRICS).read_text().splitlines()]


def _keep_rows(path: Path, last: int) -> None:
    """Rows up to update `last`; written beside and renamed."""
    rows = (
        [line for line in path.read_text().splitlines() if json.loads(line)["update"] <= last] if path.exists() else []
    )
    partial = path.with_suffix(".partial")
    partial.write_text("".join(line + "\n" for line in rows))
    partial.rename(path)


def _start_wandb(output: Path, config: LogConfig, settings: Mapping[str, Any], tracking: str | None) -> Any:
    mode = config.wandb
    if mode == "disabled":
        return None
    if mode == "auto":
        logged_in = bool(os.environ.get("WANDB_API_KEY")) or wandb.api.api_key is not None
        mode = "online" if logged_in else "offline"
    return wandb.init(
        project=config.project,
        dir=str(output),
        name=output.name,
        config=dict(settings),
        mode=mode,
        id=tracking,
        resume="allow" if tracking else None,
        settings=wandb.Settings(silent=True, console="off"),
    )
