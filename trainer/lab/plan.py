"""Check a lab before anything is computed. This imports neither torch nor transformers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from estimators import Estimator, build, needs
from estimators.options import suggestion
from estimators.own import with_name
from trainer import checkpoint
from trainer.config.build import ConfigError
from trainer.lab.config import SWEPT, LabConfig, TruthConfig
from trainer.lab.measure.recording import Recording
from trainer.lab.worlds.crafting import crafting
from trainer.lab.worlds.maze import maze
from trainer.lab.worlds.tabular import SUCCESS_REWARD, Tabular
from trainer.setup.preflight import MADE_COLUMNS

PATTERN = "update-*.jsonl.zst"
"""File names of recorded updates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPlan:
    """A lab that can start."""

    config: LabConfig
    """The settings that the plan was made from."""

    recordings: tuple[Recording, ...]
    """The updates to read; empty without a run."""

    worlds: tuple[Tabular, ...]
    """The generated worlds, solved; empty where `config.truth` is None."""

    recorded: Mapping[str, Estimator]
    """The estimators for the recorded rollouts, by label, with the run's options."""

    generated: Mapping[str, Estimator]
    """The estimators for the generated worlds, by label; no run's options count there."""

    model: Path | None
    """Hugging Face folder that hidden states are read from again; None takes the recorded ones."""


def plan_lab(config: LabConfig) -> LabPlan:
    """Raises ConfigError or EnvError for whatever is known to fail before anything is computed."""
    _check_swept(config)
    run = None if config.run is None else Path(config.run).absolute()
    recordings = () if run is None else _recordings(run, config)
    model = None if run is None or config.layer is None else _model(run, config)
    recorded = {} if run is None else _estimators(config, _settings(run))
    generated = {} if config.truth is None else _estimators(config, {})
    _check_columns(recorded, MADE_COLUMNS, "which recorded rollouts have not")
    _check_columns(
        generated, {"embedding", "values"}, "which generated worlds have not: set truth=null, or leave it out"
    )
    if model is None:
        _check_embeddings(recorded, recordings)
    return LabPlan(
        config=config,
        recordings=recordings,
        worlds=() if config.truth is None else worlds(config.truth),
        recorded=recorded,
        generated=generated,
        model=model,
    )


def worlds(config: TruthConfig) -> tuple[Tabular, ...]:
    """The generated worlds, solved."""
    mazes = [maze(layout) for layout in config.mazes]
    return (*mazes, *([crafting(config.crafting)] if config.crafting else []))


def _recordings(run: Path, config: LabConfig) -> tuple[Recording, ...]:
    folder = run / "rollouts"
    files = {int(path.name[7:13]): path for path in sorted(folder.glob(PATTERN))}
    if not files:
        raise ConfigError(
            f"run={config.run} holds no recorded rollouts ({folder}/{PATTERN}): keep them with "
            "stepcredit train record=embeddings, or record=rollouts without hidden states"
        )
    updates = files if config.updates is None else config.updates
    for update in updates:
        if update not in files:
            raise ConfigError(f"updates: {update} is not recorded in {folder}, which has {min(files)} to {max(files)}")
    embeddings = {update: folder / f"update-{update:06d}.embeddings.npy" for update in updates}
    return tuple(
        Recording(update=update, groups=files[update], embeddings=path if path.is_file() else None)
        for update, path in embeddings.items()
    )


def _settings(run: Path) -> dict[str, Any]:
    """The run's config.json; empty where there is none beside the rollouts."""
    path = run / "config.json"
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is broken ({error}): mend it, or remove it to take the papers' settings") from error


def _model(run: Path, config: LabConfig) -> Path:
    if config.weights is not None:
        folder = Path(config.weights).absolute()
    else:
        newest = checkpoint.newest_export(run)
        if newest is None:
            raise ConfigError(f"layer={config.layer}: {run} has no export to read it from; give weights=FOLDER")
        folder = newest
    if not (folder / "config.json").is_file():
        raise ConfigError(f"weights={folder} is no Hugging Face folder: it has no config.json")
    return folder


def _estimators(config: LabConfig, run: Mapping[str, Any]) -> dict[str, Estimator]:
    """The estimators by label. `run` holds the run's settings.

    The first of these that sets an option wins: the entry, the lab, the preset, the run, the paper.
    """
    estimators: dict[str, Estimator] = {}
    for entry in config.estimators:
        own = {"name": entry} if isinstance(entry, str) else with_name(entry)
        if "name" not in own:
            raise ConfigError(f"estimators has {own} without a name: write {{name: gigpo, ...}}")
        name = str(own.pop("name"))
        label = " ".join([name, *(f"{key}={value}" for key, value in own.items() if key != "_target_")])
        if label in estimators:
            raise ConfigError(f"estimators has {label!r} twice: leave one out, or give them different options")
        if "/" in name and name not in config.presets and "_target_" not in own:
            raise ConfigError(f"estimators has {name!r}, which is no preset: {suggestion(name, config.presets)}")
        preset = dict(config.presets.get(name, {}))
        name = str(preset.pop("name", name))
        try:
            options = _options(build(name, **(preset | own)))
            of_run = {key: value for key, value in _of_run(name, run).items() if key in options}
            swept = {key: getattr(config, key) for key in SWEPT if key in options and getattr(config, key) is not None}
            estimators[label] = build(name, **(of_run | preset | swept | own))
        except ValueError as error:
            raise ConfigError(str(error)) from error
    return estimators


def _of_run(name: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """Options from the run: all of them for the run's own estimator, for others the reward and the model's tuning."""
    facts = {"success_reward": run.get("rollout", {}).get("success_reward", SUCCESS_REWARD)}
    tuning = run.get("model", {}).get("tuning", {})
    facts |= {key: tuning[key] for key in ("eps", "layer") if key in tuning}
    own = dict(run.get("estimator", {}))
    return facts | own if own.pop("name", None) == name else facts


def _options(estimator: Estimator) -> set[str]:
    return {option.name for option in fields(estimator)} if is_dataclass(estimator) else set()


def _check_swept(config: LabConfig) -> None:
    """Raises ConfigError for a setting that no estimator would read."""
    estimators = _estimators(config, {})
    for key in SWEPT:
        if getattr(config, key) is not None and not any(key in _options(it) for it in estimators.values()):
            raise ConfigError(f"{key}={getattr(config, key)}, but none of {', '.join(estimators)} has it: leave it out")
    if config.layer is not None and not any("embedding" in needs(it).columns for it in estimators.values()):
        raise ConfigError(f"layer={config.layer}, but none of {', '.join(estimators)} reads hidden states: add bipace")


def _check_columns(estimators: Mapping[str, Estimator], has: frozenset[str] | set[str], why: str) -> None:
    for label, estimator in estimators.items():
        if missing := needs(estimator).columns - has:
            raise ConfigError(f"estimator {label!r} needs the columns {sorted(missing)}, {why}")


def _check_embeddings(estimators: Mapping[str, Estimator], recordings: tuple[Recording, ...]) -> None:
    demanding = [label for label, estimator in estimators.items() if "embedding" in needs(estimator).columns]
    without = [recording for recording in recordings if recording.embeddings is None]
    if demanding and without:
        raise ConfigError(
            f"estimator {demanding[0]!r} needs hidden states, which {without[0].groups} was recorded without: train "
            "with record=embeddings, read them anew with layer=-2, or leave it out of estimators"
        )
