"""The plans of the commands: each planning function checks a config and returns the plan that the command runs.

A planning function refuses whatever can be known to fail before anything heavy starts. This file imports neither torch
nor transformers, vLLM or DeepSpeed, so a wrong word costs seconds.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.panel import Difference as PanelDifference
from envs.panel import Panel
from estimators import ESTIMATORS, Estimator
from rollout.types import RolloutGroup
from trainer import checkpoint
from trainer.checkpoint import RunState
from trainer.config.build import ConfigError
from trainer.config.commands import (
    DemosConfig,
    EvaluateConfig,
    QuickstartConfig,
    TrainConfig,
    WarmstartConfig,
)
from trainer.config.continuing import Difference, as_words, binding, changes, check_same_settings, differences, plain
from trainer.config.defaults import defaults_of
from trainer.config.earlier import ForkConfig
from trainer.setup.credit import check_milestones, check_scorer, checked_estimator
from trainer.setup.endpoint_key import endpoint_key
from trainer.setup.folder import model_folder
from trainer.setup.held_out import FINISHED, RESULT, SETTINGS, finished_rollouts, num_rollouts
from trainer.setup.learnable import check_learnable
from trainer.setup.machine import check_machine
from trainer.setup.panels import changed_since, panel, trained_copies, training_panel
from trainer.setup.planned import planned, planned_warmstart
from trainer.setup.shapes import check_shared
from trainer.setup.world import World, open_world

CONFIG = SETTINGS
"""What a run was last started with, in its output folder; an evaluation keeps the same under the same name."""
ALWAYS_DIFFER = ("output", "resume")
"""Harmless settings of which a resumed run says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """A training run that can start."""

    config: TrainConfig
    """What was asked for."""

    world: World
    """The driver's copy of the world, open."""

    estimator: Estimator
    """The estimator before the first update; a resumed run takes the checkpoint's instead."""

    resumed: tuple[Path, RunState] | None
    """The checkpoint's folder and state to continue from; None starts fresh."""

    origin: tuple[Path, RunState] | None = None
    """The other run's checkpoint that a fork continues from as long as it has none of its own."""

    damaged: tuple[str, ...] = ()
    """What is wrong with each later checkpoint."""

    panel: Panel | None = None
    """The tasks of the validations; None for a run without any."""

    trained_copies: tuple[str, ...] = ()
    """Those of them that are trained on under another id."""

    other_panel: PanelDifference | None = None
    """How these tasks differ from those of the last start with validations. None where nothing differs."""

    changed: str = ""
    """The harmless settings in which the run differs from its last start; empty where there are none."""

    @property
    def start(self) -> int:
        """The last update that is done, 0 for a fresh run."""
        return 0 if self.resumed is None else self.resumed[1].update


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmstartPlan:
    """A warm start that can start."""

    config: WarmstartConfig
    """What was asked for."""

    world: World
    """The driver's copy of the world, open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickstartPlan:
    """A quickstart that can start: a warm start and a training run over one world, opened once."""

    config: QuickstartConfig
    """What was asked for."""

    warmstart: WarmstartPlan
    """Writes to `output/warmstart`."""

    training: TrainingPlan
    """Writes to `output/train`. Its model.source is the base model; the run replaces it with the warm start's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """An evaluation that can start."""

    config: EvaluateConfig
    """What was asked for."""

    world: World
    """The driver's copy of the world, open."""

    panel: Panel
    """The tasks that are played."""

    finished: tuple[RolloutGroup, ...] = ()
    """Rollouts that lie in the output folder and need not be played."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemosPlan:
    """Demonstrations that can be played."""

    config: DemosConfig
    """What was asked for."""

    world: World
    """The driver's copy of the world, open."""


def plan_training(config: TrainConfig) -> TrainingPlan:
    """Check all settings of a run, open its world and find its checkpoint.

    Raises ConfigError or EnvError for whatever of a run is already known to fail.
    """
    estimator = checked_estimator(config)
    check_machine(config.cluster, serves=True, trains=True)
    model_folder(config.model)
    check_shared(config.model, config.engine.tensor_parallel)
    check_learnable(config.learner, config.model, config.cluster)
    config = planned(config, stage=_stage_so_far(config))
    output = Path(config.output).absolute()
    resumed, damaged, changed = _resumable(config)
    world = open_world(config.env)
    check_milestones(estimator, config, world)
    check_scorer(config, world)
    validated, copies = None, tuple[str, ...]()
    if config.validation.every is not None:
        validated = panel(config.env, world, config.env.validation_split, config.validation.tasks)
        copies = trained_copies(validated, training_panel(config.env, world))
    return TrainingPlan(
        config=config,
        world=world,
        estimator=estimator,
        resumed=resumed,
        damaged=damaged,
        changed=changed,
        panel=validated,
        trained_copies=copies,
        other_panel=None if resumed is None or validated is None else changed_since(output, validated, may_choose=True),
    )


def going_on(plan: TrainingPlan) -> TrainingPlan:
    """The same run from its last checkpoint, or from its start where it has none yet."""
    config = replace(plan.config, resume="auto")
    resumed, damaged, changed = _resumable(config)
    return replace(plan, config=config, resumed=resumed or plan.origin, damaged=damaged, changed=changed)


def plan_quickstart(config: QuickstartConfig) -> QuickstartPlan:
    """Plan the warm start and the training run of a quickstart.

    Raises ConfigError or EnvError as `plan_training` does, and for a folder that already holds a quickstart.
    """
    output = Path(config.output).absolute()
    if (output / "train").exists() or (output / "warmstart").exists():
        raise ConfigError(f"{output} already holds a quickstart: remove it, or choose another with output=...")
    if config.validation.every is None:
        raise ConfigError("validation.every=None, but the report of a quickstart shows validations: give it a number")
    training = plan_training(_training_of(config, output / "train"))
    warm = planned_warmstart(_warmstart_of(config, output / "warmstart"))
    warmstart = WarmstartPlan(config=warm, world=training.world)
    return QuickstartPlan(config=config, warmstart=warmstart, training=training)


def plan_evaluation(config: EvaluateConfig) -> EvaluationPlan:
    """Check all settings of an evaluation, open its world and find what it has played.

    Raises ConfigError or EnvError for whatever of an evaluation is already known to fail.
    """
    check_machine(config.cluster, serves=config.endpoint is None, trains=False)
    if config.endpoint is None:
        model_folder(config.model, trained=False)
        check_shared(config.model, config.engine.tensor_parallel)
    else:
        endpoint_key()
    finished = finished_rollouts(config)
    # An evaluation trains on nothing, so a split that leaks is no reason to refuse.
    world = open_world(replace(config.env, overlap=True))
    played = panel(config.env, world, config.env.validation_split, config.tasks)
    if finished:
        changed_since(Path(config.output), played, may_choose=False)
    output = Path(config.output)
    whole = num_rollouts(finished) == len(played.tasks) * config.samples
    if whole and (output / RESULT).exists() and not (output / FINISHED).exists():  # with it the result is older
        raise ConfigError(
            f"the evaluation in {config.output} has played all its tasks: choose another output folder, or raise "
            "samples"
        )
    return EvaluationPlan(config=config, world=world, panel=played, finished=finished)


def plan_warmstart(config: WarmstartConfig) -> WarmstartPlan:
    """Check all settings of a warm start, and open its world.

    Raises ConfigError or EnvError for whatever of a warm start is already known to fail.
    """
    output = Path(config.output).absolute()
    if (output / "model").exists():
        raise ConfigError(f"{output} already holds a model: choose another output folder")
    if config.demos is not None and not Path(config.demos).is_file():
        raise ConfigError(f"demos={config.demos} is no file: write one with stepcredit demos output={config.demos}")
    check_machine(config.cluster, serves=False, trains=True)
    model_folder(config.model)
    check_learnable(config.learner, config.model, config.cluster)
    return WarmstartPlan(config=planned_warmstart(config), world=open_world(config.env))


def plan_demos(config: DemosConfig) -> DemosPlan:
    """Open the world whose expert plays.

    Raises ConfigError or EnvError for a world that cannot be opened.
    """
    return DemosPlan(config=config, world=open_world(config.env))


def _training_of(config: QuickstartConfig, output: Path) -> TrainConfig:
    """The quickstart's training run: the same settings without the warm start's, in a folder of its own."""
    settings = {name: getattr(config, name) for name in TrainConfig.__dataclass_fields__}
    return TrainConfig(**{**settings, "output": str(output)})


def _warmstart_of(config: QuickstartConfig, output: Path) -> WarmstartConfig:
    settings = config.warmstart
    # decay_steps counts the optimizer steps of the training run, not those of the warm start.
    learner = replace(config.learner, learning_rate=settings.learning_rate, decay_steps=None)
    return WarmstartConfig(
        output=str(output),
        model=config.model,
        env=config.env,
        learner=learner,
        cluster=config.cluster,
        passes=settings.passes,
        mistakes=settings.mistakes,
        revisions=settings.revisions,
        revise_prompt=config.revise.prompt,
        epochs=settings.epochs,
        rows_per_step=settings.rows_per_step,
        seed=config.seed,
    )


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """The settings in which a run and its continuation must agree, as plain JSON values."""
    return binding(type(config), plain(config))


def _stage_so_far(config: TrainConfig) -> int | None:
    """The ZeRO stage of the run's last checkpoint: the run keeps it on other GPUs too. None for a fresh start."""
    newest = None if config.resume == "never" else checkpoint.named(Path(config.output).absolute())
    if newest is not None and (newest / checkpoint.STATE).is_file():
        with suppress(ConfigError):  # it is damaged: `_resumable` takes the one before, and says so
            return checkpoint.read_state(newest).settings["learner"]["zero_stage"]
    return None


def _resumable(config: TrainConfig) -> tuple[tuple[Path, RunState] | None, tuple[str, ...], str]:
    """The checkpoint to continue from, checked against the config; what is wrong with later ones; what differs.

    (None, (), "") for a fresh start.
    """
    output = Path(config.output).absolute()
    if config.resume == "never":
        if checkpoint.named(output) is not None:
            raise ConfigError(f"{output} already holds a run: go on with resume=auto, or choose another output folder")
        return None, (), ""
    newest = checkpoint.undamaged(output)
    if newest is None:
        _check_no_fork(config, output)
        return None, (), ""
    folder, damaged = newest
    state = checkpoint.read_state(folder)
    _check_same_run(config, state, folder)
    check_updates_left(config, state, folder)
    return (folder, state), damaged, _changed(config, output)


def check_updates_left(config: TrainConfig, state: RunState, folder: Path) -> None:
    """Raise ConfigError where the checkpoint has done all updates that are asked for."""
    if state.update >= config.updates:
        raise ConfigError(f"updates={config.updates}, but {folder} has done {state.update}: raise updates to go on")


def from_checkpoint(config: TrainConfig, state: RunState) -> tuple[Difference, ...]:
    """The settings, harmless ones left out, in which a run differs from a checkpoint."""
    kind = type(config)
    saved, defaults = (binding(kind, settings) for settings in (state.settings, defaults_of(kind)))
    return differences(kind, saved, settings_of(config), defaults=defaults)


def _check_same_run(config: TrainConfig, state: RunState, folder: Path) -> None:
    """Raise ConfigError where a setting that is not harmless differs from the checkpoint's; it names each of them."""
    different = from_checkpoint(config, state)
    remedy = "start anew in another output folder"
    if all(one.mark != "fixed" for one in different):
        remedy = (
            f"start a run of its own from there: stepcredit fork {folder.parents[1]} update={state.update} "
            f"{_fork_words(different, config.estimator)}"
        )
    check_same_settings(different, f"checkpoint {folder}", remedy)


def _fork_words(different: Iterable[Difference], estimator: Mapping[str, Any]) -> str:
    """The words with which a fork has these settings. Another estimator is chosen anew, with each of its options."""
    different = tuple(different)
    if all(one.name != "estimator.name" for one in different):
        return as_words(different)
    chosen = f"estimator={estimator['name']}" if estimator["name"] in ESTIMATORS else "~estimator"
    options = (
        Difference(name=f"++estimator.{option}", before=None, now=value, mark="binding")
        for option, value in estimator.items()
        if option != "name" or chosen == "~estimator"
    )
    others = as_words(one for one in different if not one.name.startswith("estimator."))
    return " ".join(filter(None, (chosen, as_words(options), others)))


def written_config(output: Path) -> dict[str, Any] | None:
    """What the run in a folder was last started with; None where there is none. Raises ConfigError if it is broken."""
    path = output / CONFIG
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is broken ({error}): bring a whole one back, or remove it") from error


def _changed(config: TrainConfig, output: Path) -> str:
    """The harmless settings in which the run differs from its last start, in words."""
    different = differences(type(config), written_config(output) or plain(config), plain(config))
    return changes(one for one in different if one.mark == "harmless" and one.name not in ALWAYS_DIFFER)


def _check_no_fork(config: TrainConfig, output: Path) -> None:
    """Raise ConfigError where a fork without a checkpoint would begin as an ordinary run."""
    before = written_config(output) or {}
    if "run" in before and not isinstance(config, ForkConfig):
        raise ConfigError(
            f"{output} is a fork that has no checkpoint yet: go on with stepcredit fork {before['run']} "
            f"update={before['update']} resume=auto output={output} and its other settings"
        )
