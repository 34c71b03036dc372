"""Numbers of a run: a JSON line an update, TensorBoard, and wandb (the one file that knows it)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from torch.utils.tensorboard import SummaryWriter

from trainer.config.settings import LogConfig

METRICS = "metrics.jsonl"


class MetricLog:
    """Writes one row of numbers per update everywhere at once.

    resumed_at: the update of the checkpoint gone on from, whose later rows are dropped first; None for a fresh run.
    """

    def __init__(
        self,
        output: Path,
        config: LogConfig,
        *,
        settings: Mapping[str, Any],
        resumed_at: int | None,
        tracking: str | None,
    ) -> None:
        self._path = output / METRICS
        first = 0 if resumed_at is None else resumed_at + 1
        _drop_rows(self._path, first)
        self._board = SummaryWriter(str(output / "tensorboard"), purge_step=first) if config.tensorboard else None
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
            self._wandb.finish()


def read_metrics(output: Path) -> list[dict[str, float]]:
    """All rows of a run, oldest first."""
    return [json.loads(line) for line in (output / METRICS).read_text().splitlines()]


def _drop_rows(path: Path, first: int) -> None:
    """Keep what comes before update `first`, but no row that a kill cut short; written beside and renamed."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    partial = path.with_suffix(".partial")
    partial.write_text("".join(line for line in lines if line.endswith("\n") and json.loads(line)["update"] < first))
    partial.rename(path)


def _start_wandb(output: Path, config: LogConfig, settings: Mapping[str, Any], tracking: str | None) -> Any:
    mode = config.wandb
    if mode == "disabled":
        return None
    if mode == "auto":
        mode = "online" if wandb.login(prompt=False, verify=False) else "offline"
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
