"""A run on wandb. No other file imports it; runs that log nothing there do not import this file, which takes 1 s."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import wandb
from wandb.errors import AuthenticationError, CommError

from trainer.config.build import ConfigError
from trainer.config.settings import LogConfig

Mode = Literal["online", "offline", "disabled"]


def start(
    output: Path, config: LogConfig, settings: Mapping[str, Any], tracking: str | None, new_id: str
) -> tuple[Any, bool]:
    """(a wandb run, whether it is offline only because no server answered).

    Its charts are drawn over the updates, and its config names the first of its runs. An online run is gone on with. An
    offline run cannot be: its files would replace each other when they are synced, so a new run of the same group and
    name has what comes after the resume. Raises ConfigError for a key that is none.
    """
    mode = config.wandb
    if mode == "auto":
        mode = "online" if _is_known() else "offline"
    started = partial(_started, output, config, settings, tracking, new_id)
    try:
        return started(mode), False
    except CommError:  # as on nodes of a cluster without internet
        if config.wandb != "auto":
            raise
        wandb.teardown()  # its process holds the run's id
        return started("offline"), True


def _is_known() -> bool:
    """Whether somebody is logged in."""
    try:
        return wandb.login(prompt=False, verify=False)
    except AuthenticationError as error:
        raise ConfigError(f"log.wandb='auto': {error}: mend the key, or set log.wandb=disabled") from error


def _started(
    output: Path, config: LogConfig, settings: Mapping[str, Any], tracking: str | None, new_id: str, mode: Mode
) -> Any:
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


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """A table that a run can log."""
    return wandb.Table(columns=list(columns), data=[list(row) for row in rows])
