"""The numbers of a run, written as JSON lines, to TensorBoard and to wandb. No other file imports wandb.

wandb, and torch for TensorBoard, are imported by a run that uses them: together they take a run's start 3 s.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.config.settings import LogConfig
from trainer.report.metric_rows import METRICS, drop_rows
from trainer.report.shown import COLUMNS, Shown, markdown

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
        self._board = _start_board(output / "tensorboard", first) if config.tensorboard else None
        new_id = secrets.token_hex(4)  # of no seed: no two runs may share it
        self._tracking, self._goes_on_after = tracking or new_id, None if tracking is None else resumed_at
        self._wandb = _start_wandb(output, config, settings, tracking, new_id)

    @property
    def tracking(self) -> str | None:
        """The id of the first of the run's wandb runs, by which it is gone on with; None without wandb."""
        return self._tracking if self._wandb else None

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
        """Write the row of one update. It is on disk when this returns."""
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
            import wandb  # noqa: PLC0415

            rows = [[update, *(getattr(rollout, name) for name in COLUMNS)] for rollout in rollouts]
            self._wandb.log({"update": update, TRAJECTORIES: wandb.Table(columns=["update", *COLUMNS], data=rows)})

    def close(self) -> None:
        """Finish the logs that have an end."""
        if self._board:
            self._board.close()
        if self._wandb:
            self._wandb.finish()


def _start_board(folder: Path, first: int) -> Any:
    """A writer for TensorBoard, which drops what an earlier process logged of the updates from `first` on."""
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

    return SummaryWriter(str(folder), purge_step=first)


def _start_wandb(
    output: Path, config: LogConfig, settings: Mapping[str, Any], tracking: str | None, new_id: str
) -> Any:
    """A wandb run whose charts are drawn over the updates, and whose config names the first of its runs.

    An online run is gone on with. An offline run cannot be: its files would replace each other when they are synced, so
    a new run of the same group and name has what comes after the resume.
    """
    mode = config.wandb
    if mode == "disabled":
        return None
    import wandb  # noqa: PLC0415

    if mode == "auto":
        mode = "online" if wandb.login(prompt=False, verify=False) else "offline"
    was_offline = tracking is not None and any((output / "wandb").glob(f"offline-run-*-{tracking}"))
    goes_on = tracking is not None and mode == "online" and not was_offline
    run = wandb.init(
        project=config.project,
        dir=str(output),
        name=output.name,
        config={**settings, "first_run": tracking or new_id},
        mode=mode,
        id=tracking if goes_on else new_id,
        group=config.group,
        tags=config.tags,
        resume="allow" if goes_on else None,
        settings=wandb.Settings(silent=True, console="off"),
    )
    run.define_metric("update")
    run.define_metric("*", step_metric="update")
    return run
