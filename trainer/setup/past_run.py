"""A run that lies on disk: its config and its checkpoints, checked before anything loads. This imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from trainer import checkpoint, checksums
from trainer.config.build import ConfigError, build, settable
from trainer.config.commands import ReplayConfig, TrainConfig
from trainer.data.bad_batch import BadBatch
from trainer.setup.folder import model_folder
from trainer.setup.machine import check_machine
from trainer.setup.packing import check_packing
from trainer.setup.preflight import CONFIG
from trainer.setup.world import World, open_world


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """An update that can be run again."""

    config: ReplayConfig
    """What was asked for."""

    batch: BadBatch
    """What the update learned from."""

    run: TrainConfig
    """The settings of its run."""

    start: Path | None
    """Folder of the checkpoint to begin with; None begins where the run began."""

    world: World
    """The driver's copy of the world, open: a model that is made here is made from its texts."""

    @property
    def done(self) -> int:
        """The last update before the start."""
        return 0 if self.start is None else int(self.start.name.removeprefix("update-"))

    @property
    def between(self) -> int:
        """How many updates lie between the start and the one that is run again."""
        return self.batch.update - 1 - self.done


def plan_replay(config: ReplayConfig) -> ReplayPlan:
    """Raises ConfigError or EnvError for whatever of a replay is already known to fail."""
    path = Path(config.batch).absolute()
    batch, run = BadBatch.read(path), config_of(path.parent)
    start = None if batch.checkpoint is None else path.parent / checkpoint.FOLDER / batch.checkpoint
    if start is not None:
        check_checkpoint(start, f"{path.name} was learned from after it")
    check_machine(run.cluster, serves=False, trains=True)
    model_folder(run.model)
    check_packing(run.learner, run.model)
    return ReplayPlan(config=config, batch=batch, run=run, start=start, world=open_world(run.env))


def config_of(run: Path) -> TrainConfig:
    """The settings that a run was last started with. Raises ConfigError where they are missing or cannot be read."""
    path = run / CONFIG
    if not path.is_file():
        raise ConfigError(
            f"{run} is no folder of a run: it has no {CONFIG}; give the output folder of stepcredit train"
        )
    try:
        values = json.loads(path.read_text())
        return build(TrainConfig, settable(TrainConfig, values))
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): give the folder of a run of this version") from error


def check_checkpoint(folder: Path, why: str) -> None:
    """Raise ConfigError for a checkpoint that is gone, incomplete or damaged. why: what it is needed for."""
    if not (folder / checkpoint.STATE).is_file():
        raise ConfigError(f"{folder} is gone, and {why}: raise checkpoint.keep, so that a run keeps more of them")
    if (fault := checksums.damage(folder)) is not None:
        raise ConfigError(f"{folder} is damaged ({fault}), and {why}: bring an undamaged copy back")
