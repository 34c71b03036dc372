"""What of a lab can be refused before anything is computed; neither torch nor transformers is imported on the way."""

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
from trainer.lab.worlds.crafting import crafting
from trainer.lab.worlds.maze import maze
from trainer.lab.worlds.tabular import SUCCESS_REWARD, Tabular
from trainer.setup.preflight import MADE_COLUMNS

RECORDED = "update-*.jsonl.zst"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One update's rollouts on disk; embeddings: of its rows, where the run kept them."""

    update: int
    groups: Path
    embeddings: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPlan:
    """A lab that can start. model: Hugging Face folder that hidden states are read anew from, where a layer is asked.

    recorded, generated: the estimators by label, as they stand before a recorded run and before generated worlds.
    """

    config: LabConfig
    recordings: tuple[Recording, ...]
    worlds: tuple[Tabular, ...]
    recorded: Mapping[str, Estimator]
    generated: Mapping[str, Estimator]
    model: Path | None


def plan_lab(config: LabConfig) -> LabPlan:
    """Raises ConfigError or EnvError for whatever of a lab can be known to fail."""
    _check_swept(config)
    run = None if config.run is None else Path(config.run).absolute()
    recordings = () if run is None else _recordings(run, config)
    model = None if run is None or config.layer is None else _model(run, config)
    recorded = {} if run is None else _estimators(config, _settings(run))
    generated = {} if config.truth is None else _estimators(config, {})
    _check_columns(recorded, MADE_COLUMNS, "which recorded rollouts have not")
    _check_columns(generated, {"embedding"}, "which generated worlds have not: set truth=null, or leave it out")
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
    made = [maze(one) for one in config.mazes]
    return (*made, *([crafting(config.crafting)] if config.crafting else []))


def _recordings(run: Path, config: LabConfig) -> tuple[Recording, ...]:
    folder = run / "rollouts"
    found = {int(path.name[7:13]): path for path in sorted(folder.glob(RECORDED))}
    if not found:
        raise ConfigError(
            f"run={config.run} holds no recorded rollouts ({folder}/{RECORDED}): keep them with "
            "stepcredit train record=embeddings"
        )
    wanted = found if config.updates is None else config.updates
    for update in wanted:
        if update not in found:
            raise ConfigError(f"updates: {update} is not recorded in {folder}, which has {min(found)} to {max(found)}")
    kept = {update: folder / f"update-{update:06d}.embeddings.npy" for update in wanted}
    return tuple(
        Recording(update=update, groups=found[update], embeddings=path if path.is_file() else None)
        for update, path in kept.items()
    )


def _settings(run: Path) -> dict[str, Any]:
    """The run's config.json; empty where the rollouts stand alone."""
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
        last = checkpoint.latest(run)
        if last is None:
            raise ConfigError(f"layer={config.layer}: {run} has no checkpoint to read it from; give weights=FOLDER")
        folder = last / "model"
    if not (folder / "config.json").is_file():
        raise ConfigError(f"weights={folder} is no Hugging Face folder: it has no config.json")
    return folder


def _estimators(config: LabConfig, run: Mapping[str, Any]) -> dict[str, Estimator]:
    """By label. Of an option counts, first to last: the entry's own, the lab's, a preset's, the run's, the paper's."""
    made: dict[str, Estimator] = {}
    for entry in config.estimators:
        own = {"name": entry} if isinstance(entry, str) else with_name(entry)
        if "name" not in own:
            raise ConfigError(f"estimators has {own} without a name: write {{name: gigpo, ...}}")
        name = str(own.pop("name"))
        label = " ".join([name, *(f"{key}={value}" for key, value in own.items() if key != "_target_")])
        if label in made:
            raise ConfigError(f"estimators has {label!r} twice: leave one out, or give them different options")
        if "/" in name and name not in config.presets and "_target_" not in own:
            raise ConfigError(f"estimators has {name!r}, which is no preset: {suggestion(name, config.presets)}")
        preset = dict(config.presets.get(name, {}))
        name = str(preset.pop("name", name))
        try:
            known = _options(build(name, **(preset | own)))
            of_run = {key: value for key, value in _of_run(name, run).items() if key in known}
            swept = {key: getattr(config, key) for key in SWEPT if key in known and getattr(config, key) is not None}
            made[label] = build(name, **(of_run | preset | swept | own))
        except ValueError as error:
            raise ConfigError(str(error)) from error
    return made


def _of_run(name: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """The run's own options where it is the run's estimator; of others what its world pays and what suits its model."""
    facts = {"success_reward": run.get("rollout", {}).get("success_reward", SUCCESS_REWARD)}
    tuning = run.get("model", {}).get("tuning", {})
    facts |= {key: tuning[key] for key in ("eps", "layer") if key in tuning}
    own = dict(run.get("estimator", {}))
    return facts | own if own.pop("name", None) == name else facts


def _options(estimator: Estimator) -> set[str]:
    return {one.name for one in fields(estimator)} if is_dataclass(estimator) else set()


def _check_swept(config: LabConfig) -> None:
    """Raises ConfigError for a setting that no estimator would read."""
    made = _estimators(config, {})
    for key in SWEPT:
        if getattr(config, key) is not None and not any(key in _options(one) for one in made.values()):
            raise ConfigError(f"{key}={getattr(config, key)}, but none of {', '.join(made)} has it: leave it out")
    if config.layer is not None and not any("embedding" in needs(one).columns for one in made.values()):
        raise ConfigError(f"layer={config.layer}, but none of {', '.join(made)} reads hidden states: add bipace")


def _check_columns(made: Mapping[str, Estimator], has: frozenset[str] | set[str], why: str) -> None:
    for label, estimator in made.items():
        if missing := needs(estimator).columns - has:
            raise ConfigError(f"estimator {label!r} needs the columns {sorted(missing)}, {why}")


def _check_embeddings(made: Mapping[str, Estimator], recordings: tuple[Recording, ...]) -> None:
    wanting = [label for label, estimator in made.items() if "embedding" in needs(estimator).columns]
    without = [one for one in recordings if one.embeddings is None]
    if wanting and without:
        raise ConfigError(
            f"estimator {wanting[0]!r} needs hidden states, which {without[0].groups} was recorded without: train with "
            "record=embeddings, read them anew with layer=-2, or leave it out of estimators"
        )
