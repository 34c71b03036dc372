"""A run that lies on disk: its config and its checkpoints, checked before anything loads. This imports no torch."""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from estimators import Unit, needs
from estimators import build as build_estimator
from trainer import checkpoint, checksums
from trainer.checkpoint import RunState
from trainer.config.build import ConfigError, build, settable
from trainer.config.commands import TrainConfig
from trainer.config.continuing import Difference, check_same_settings, plain
from trainer.config.derived import engines_on, env_workers, one_per_gpu
from trainer.config.earlier import ForkConfig, ReplayConfig
from trainer.data.bad_batch import BadBatch
from trainer.scorers import name_of, trains_twin
from trainer.setup.credit import estimator_of, scorer_of
from trainer.setup.folder import model_folder
from trainer.setup.learnable import check_learnable
from trainer.setup.machine import check_machine
from trainer.setup.preflight import (
    CONFIG,
    TrainingPlan,
    check_updates_left,
    from_checkpoint,
    plan_training,
    written_config,
)
from trainer.setup.world import World, open_world

ROOT = Path(__file__).parents[2]
OF_FORKS = frozenset(ForkConfig.__dataclass_fields__) - frozenset(TrainConfig.__dataclass_fields__)
"""Settings that say where a fork comes from."""


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
        return 0 if self.start is None else checkpoint.update_of(self.start)

    @property
    def between(self) -> int:
        """How many updates lie between the start and the one that is run again."""
        return self.batch.update - 1 - self.done


def plan_replay(config: ReplayConfig) -> ReplayPlan:
    """Find the batch, the run that it ended and the checkpoint before it.

    Raises ConfigError or EnvError for whatever of a replay is already known to fail.
    """
    path = Path(config.batch).absolute()
    batch, run = BadBatch.read(path), config_of(path.parent)
    start = _start_of(path.parent, batch)
    if start is not None:
        check_checkpoint(start, f"{path.name} was learned from after it")
    check_machine(run.cluster, serves=False, trains=True)
    model_folder(run.model)
    check_learnable(run.learner, run.model, run.cluster)
    return ReplayPlan(config=config, batch=batch, run=run, start=start, world=open_world(run.env))


def _start_of(run: Path, batch: BadBatch) -> Path | None:
    """The run's last checkpoint before the batch, else the one that a fork began with; None: the run's own start."""
    if batch.checkpoint is not None:
        return run / checkpoint.FOLDER / batch.checkpoint
    written = written_config(run) or {}
    return checkpoint.export_of(Path(written["run"]), written["update"]).parent if "run" in written else None


def plan_fork(config: ForkConfig) -> TrainingPlan:
    """The plan of a run that begins with another's checkpoint, or goes on from one of its own.

    Raises ConfigError or EnvError as `plan_training` does, and for a checkpoint that is not there, damaged, or fits no
    such settings.
    """
    run = Path(config.run).absolute()
    config_of(run)  # refuses a folder without a run
    config = replace(config, run=str(run), commit=commit_here())
    if config.resume == "auto" and checkpoint.named(Path(config.output).absolute()) is not None:
        return plan_training(config)  # its own checkpoints are enough
    folder = _checkpoint_after(run, config.update)
    state = checkpoint.read_state(folder)
    check_updates_left(config, state, folder)
    plan = plan_training(config)
    _check_fits(plan.config, state, folder)
    _check_decay(plan.config, state)
    state = replace(state, estimator=_estimator_now(plan.config, state), tracking=None)
    return replace(plan, origin=(folder, state), resumed=plan.resumed or (folder, state))


def _check_decay(config: TrainConfig, state: RunState) -> None:
    """Raise ConfigError where the rate of a fork would be 0 before its end: it goes on with the steps of the run."""
    learner = config.learner
    if learner.decay_steps is None or learner.optimizer_steps is None:
        return
    before = state.settings["learner"]["optimizer_steps"]
    if before is None:
        raise ConfigError(
            f"learner.decay_steps={learner.decay_steps} in a fork of a run with learner.rows_per_step, whose optimizer "
            "steps are not counted: set learner.decay_steps=null"
        )
    steps = state.update * before + (config.updates - state.update) * learner.optimizer_steps
    if learner.warmup_steps + learner.decay_steps < steps:
        raise ConfigError(
            f"learner.decay_steps={learner.decay_steps} after learner.warmup_steps={learner.warmup_steps}, but with "
            f"the run's own {state.update * before} the fork comes to {steps} optimizer steps: its rate would end at "
            "0; raise it, or null for a constant rate"
        )


def settings_to_fork(run: Path) -> dict[str, Any]:
    """The settings of a run as the defaults of a fork, without what is the run's own."""
    settings = settable(TrainConfig, plain(config_of(run)))
    cluster, gpus = settings["cluster"], settings["cluster"]["gpus"]
    followed = {
        "engines": engines_on(gpus, settings["engine"]["tensor_parallel"]),
        "ranks": one_per_gpu(gpus),
        "env_workers": env_workers(gpus),
    }
    cluster |= {name: None for name, value in followed.items() if cluster[name] == value}  # they follow the fork's GPUs
    return settings | {"output": None, "resume": "never"}


def config_of(run: Path) -> TrainConfig:
    """The settings that a run was last started with. Raises ConfigError where they are missing or cannot be read."""
    if (written := written_config(run)) is None:
        raise ConfigError(f"{run} is no folder of a run: it has no {CONFIG}; give the output of stepcredit train")
    try:
        values = {name: value for name, value in written.items() if name not in OF_FORKS}
        return build(TrainConfig, settable(TrainConfig, values))
    except ConfigError as error:
        raise ConfigError(f"{run / CONFIG} is of another version ({error}): give another run") from error


def check_checkpoint(folder: Path, why: str) -> None:
    """Raise ConfigError for a checkpoint that is gone, incomplete or damaged. why: what it is needed for."""
    if not (folder / checkpoint.STATE).is_file():
        raise ConfigError(f"{folder} is gone, and {why}: raise checkpoint.keep, so that a run keeps more of them")
    if (fault := checksums.damage(folder)) is not None:
        raise ConfigError(f"{folder} is damaged ({fault}), and {why}: bring an undamaged copy back")


def _checkpoint_after(run: Path, update: int | None) -> Path:
    """The folder of the run's checkpoint after an update. Raises ConfigError, with the updates that have one."""
    folders = {
        checkpoint.update_of(state.parent): state.parent
        for state in sorted((run / checkpoint.FOLDER).glob(f"update-*/{checkpoint.STATE}"))
    }
    there = f"choose one of {', '.join(map(str, folders))}" if folders else "it has none at all"
    if update is None:
        raise ConfigError(f"update is not set, and a fork of {run} begins after one that has a checkpoint: {there}")
    if update not in folders:
        raise ConfigError(f"update={update}, after which {run} has no checkpoint: {there}")
    if (fault := checksums.damage(folders[update])) is not None:
        raise ConfigError(f"update={update}, whose checkpoint is damaged ({fault}): {there}")
    return folders[update]


def _check_fits(config: TrainConfig, state: RunState, folder: Path) -> None:
    """Raise ConfigError where the checkpoint's weights fit none with these settings."""
    model = folder / checkpoint.MODEL
    remedy = "start anew in another output folder"
    if model.is_dir():
        remedy = f"start anew from its weights with stepcredit train model.source={model}"
    wrong = [one for one in from_checkpoint(config, state) if one.mark == "fixed" or _remakes_the_model(config, one)]
    check_same_settings(wrong, f"checkpoint {folder}", remedy)
    _check_critic(config, state, f"checkpoint {folder}", remedy)
    if trains_twin(scorer_of(config)) and not (folder / checkpoint.TWIN).is_dir():
        raise ConfigError(
            f"checkpoint {folder} was made without scorer {name_of(config.scorer)}, so that it holds no copy of the "
            f"policy: leave the scorer out, or {remedy}"
        )


def _check_critic(config: TrainConfig, state: RunState, what: str, remedy: str) -> None:
    """Raise ConfigError where one of the estimators has a critic and the other has none, or one of another unit."""
    before = dict(state.settings.get("estimator", {}))
    try:
        had = needs(build_estimator(**before)).critic
    except (ValueError, TypeError):
        return  # of another version, or the user's own and gone; the learner refuses what does not fit it
    if had != (has := needs(estimator_of(config)).critic):
        raise ConfigError(
            f"{what} was made with estimator.name={before['name']!r}, which has {_critic(had)}, this run has "
            f"estimator.name={config.estimator['name']!r}, which has {_critic(has)}: set it back, or {remedy}"
        )


def _critic(unit: Unit | None) -> str:
    return "no critic" if unit is None else f"a critic of {unit}s"


def _remakes_the_model(config: TrainConfig, different: Difference) -> bool:
    """Whether a model that is made here would have another tokenizer: it is made from the world's texts."""
    return config.model.source == "tiny" and different.name.startswith("env.")


def _estimator_now(config: TrainConfig, state: RunState) -> dict[str, Any]:
    """The estimator to begin with: what the checkpoint calibrated stays where its option is the same."""
    before, now = state.settings.get("estimator", {}), plain(config)["estimator"]
    if before.get("name") != now["name"]:
        return now
    return now | {name: state.estimator.get(name, value) for name, value in now.items() if before.get(name) == value}


def commit_here() -> str | None:
    """The commit that is checked out here; None where there is no git checkout."""
    try:
        result = subprocess.run(
            ["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
