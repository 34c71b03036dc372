"""The numbers of a run, written as JSON lines, to TensorBoard and to wandb. Of the last two, what is on is loaded."""

import json
import secrets
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from trainer.config.settings import LogConfig
from trainer.report.metric_rows import METRICS, drop_rows
from trainer.report.shown import COLUMNS, Shown, markdown

BOARD, WANDB = "trainer.report.tensorboard", "trainer.report.wandb_run"
TRAJECTORIES = "validation/trajectories"
"""Under which the dashboards show rollouts of a validation."""


class MetricLog:
    """Writes one row of numbers per update to every log that is switched on.

    Args:
        config: with the group and the tags for wandb (`labels.labelled`).
        settings: the run's settings, for wandb.
        resumed_at: the update of the checkpoint the run continues from; rows of later updates are deleted first.
            None for a fresh run, which deletes all rows.
        tracking: the id of the wandb run to go on with; None for a new one.
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
        drop_rows(self._path, first)
        self._board = import_module(BOARD).start(output / "tensorboard", first) if config.tensorboard else None
        new_id = secrets.token_hex(4)  # of no seed: no two runs may share it
        self._tracking, self._goes_on_after = tracking or new_id, None if tracking is None else resumed_at
        off = config.wandb == "disabled"
        self._wandb, self._unanswered = (
            (None, False) if off else import_module(WANDB).start(output, config, settings, tracking, new_id)
        )

    @property
    def tracking(self) -> str | None:
        """The id of the first of the run's wandb runs, by which it is gone on with; None without wandb."""
        return self._tracking if self._wandb else None

    @property
    def notes(self) -> list[str]:
        """What the user should know of where the run is logged."""
        offline = "wandb: its server does not answer, so the run is logged offline; `wandb sync` sends it"
        return [note for note in (offline if self._unanswered else None, self.continuation) if note]

    @property
    def continuation(self) -> str | None:
        """How wandb shows what is logged after a resume, for the user; None for a fresh run, and without wandb."""
        if self._wandb is None or self._goes_on_after is None:
            return None
        if self._wandb.id == self._tracking:
            return (
                f"wandb: run {self._wandb.id} goes on; updates after {self._goes_on_after} that it already has stand "
                "there twice, as wandb deletes nothing"
            )
        return (
            f"wandb: run {self._wandb.id} in group {self._wandb.group!r} has the updates after {self._goes_on_after}, "
            f"as wandb goes on with no offline run; first_run is {self._tracking} in the config of both"
        )

    def write(self, update: int, numbers: Mapping[str, float]) -> None:
        """Write the row of one update. It survives a kill from then on."""
        with self._path.open("a") as file:
            file.write(json.dumps({"update": update, **numbers}) + "\n")
        if self._board:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, update)
            self._board.flush()
        if self._wandb:
            # Under wandb's own step, a row is dropped where that step has passed it, as after a resume.
            self._wandb.log({"update": update, **numbers})

    def show(self, update: int, rollouts: Sequence[Shown]) -> None:
        """Show rollouts of a validation after an update: as text in TensorBoard, as a table in wandb."""
        if self._board and rollouts:
            self._board.add_text(TRAJECTORIES, markdown(rollouts), update)
            self._board.flush()
        if self._wandb and rollouts:
            rows = [[update, *(getattr(rollout, name) for name in COLUMNS)] for rollout in rollouts]
            table = import_module(WANDB).table(["update", *COLUMNS], rows)
            self._wandb.log({"update": update, TRAJECTORIES: table})

    def close(self) -> None:
        """Finish the logs that have an end."""
        if self._board:
            self._board.close()
        if self._wandb:
            self._wandb.finish()
