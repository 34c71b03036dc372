"""Check a lab before anything is computed. This imports neither torch nor transformers."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from estimators import Estimator, StepBatch, needs
from trainer import checkpoint
from trainer.config.build import ConfigError
from trainer.data.recording import Recording, recordings
from trainer.lab.config import SWEPT, LabConfig, TruthConfig
from trainer.lab.entries import estimators_of, options_of
from trainer.lab.measure.scored import TABULAR
from trainer.lab.worlds.bench import APART, WORLDS
from trainer.lab.worlds.crafting import crafting
from trainer.lab.worlds.maze import maze
from trainer.lab.worlds.tabular import Tabular
from trainer.scorers import Scorer
from trainer.scorers import build as build_scorer
from trainer.setup.credit import recorded_columns
from trainer.setup.preflight import written_config

GENERATED_COLUMNS = frozenset({"embedding", "milestone", "switch", "values"})
"""The optional columns that generated worlds have."""

NOT_GENERATED = "which generated worlds have not: set truth=null, or leave it out"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A generated world, solved."""

    name: str
    """Stands in the tables and seeds the rollouts."""

    layouts: Mapping[int | None, Tabular]
    """The layouts by number, each with a policy of its own; a world of a single layout has it under None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPlan:
    """A lab that can start."""

    config: LabConfig
    """The settings that the plan was made from."""

    recordings: tuple[Recording, ...]
    """The updates to read; empty without a run."""

    worlds: tuple[World, ...]
    """The generated worlds, solved; empty where `config.truth` is None."""

    recorded: Mapping[str, Estimator]
    """The estimators for the recorded rollouts, by label, with the run's options."""

    generated: Mapping[str, Estimator]
    """The estimators for the generated worlds, by label; no run's options count there."""

    scorers: Mapping[str, Scorer]
    """The scorers for the generated worlds, by label."""

    model: Path | None
    """Hugging Face folder that hidden states are read from again; None takes the recorded ones."""


def plan_lab(config: LabConfig) -> LabPlan:
    """Build the estimators, and open the recordings that they are measured on.

    Raises ConfigError or EnvError for whatever is known to fail before anything is computed.
    """
    _check_swept(config)
    run = None if config.run is None else Path(config.run).absolute()
    kept = () if run is None else recordings(run, config.updates)
    model = None if run is None or config.layer is None else _model(run, config)
    recorded, generated = dict[str, Estimator](), dict[str, Estimator]()
    if run is not None:
        settings = written_config(run) or {}
        columns = recorded_columns(settings) - {"switch"}
        recorded = _estimators(config, settings, columns, "which recorded rollouts have not")
    if config.truth is not None:
        generated = _estimators(config, {}, GENERATED_COLUMNS, NOT_GENERATED)
    if model is None:
        check_embeddings(recorded, kept)
    return LabPlan(
        config=config,
        recordings=kept,
        worlds=() if config.truth is None else worlds(config.truth),
        recorded=recorded,
        generated=generated,
        scorers=_scorers(config),
        model=model,
    )


def worlds(config: TruthConfig) -> tuple[World, ...]:
    """The generated worlds, solved."""
    single = [*map(maze, config.mazes), *([crafting(config.crafting)] if config.crafting else [])]
    return (
        *(World(name=world.name, layouts={None: world}) for world in single),
        *(bench_world(name, config.layouts, config.first_layout) for name in config.names),
    )


def bench_world(name: str, layouts: int, first: int) -> World:
    """A world of the bench with so many layouts, numbered from `first`."""
    make = {**WORLDS, **APART}[name]
    return World(name=name, layouts={number: make(number) for number in range(first, first + layouts)})


def _estimators(
    config: LabConfig, run: Mapping[str, Any], columns: frozenset[str] | set[str], why: str
) -> dict[str, Estimator]:
    swept = {key: getattr(config, key) for key in SWEPT}
    return estimators_of(config.estimators, presets=config.presets, swept=swept, run=run, columns=columns, why=why)


def _scorers(config: LabConfig) -> dict[str, Scorer]:
    scorers: dict[str, Scorer] = {}
    for entry in config.scorers:
        options: dict[str, Any] = {"name": entry} if isinstance(entry, str) else dict(entry)
        label = " ".join([str(options.get("name")), *(f"{key}={it}" for key, it in options.items() if key != "name")])
        try:
            scorer = build_scorer(options)
        except ValueError as error:
            raise ConfigError(f"scorers: {error}") from error
        if not isinstance(scorer, TABULAR):
            raise ConfigError(f"scorers has {label!r}, which reads texts, and generated worlds have none: leave it out")
        scorers[label] = scorer
    if scorers and config.truth is None:
        raise ConfigError(f"scorers={list(scorers)} are of generated worlds: leave truth as it is, or leave them out")
    return scorers


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


def _check_swept(config: LabConfig) -> None:
    """Raises ConfigError for a setting that no estimator would read."""
    everything = frozenset(field.name for field in fields(StepBatch))
    estimators = _estimators(config, {}, everything, "which no batch has")
    for key in SWEPT:
        if getattr(config, key) is not None and not any(key in options_of(it) for it in estimators.values()):
            raise ConfigError(f"{key}={getattr(config, key)}, but none of {', '.join(estimators)} has it: leave it out")
    if config.layer is not None and not any("embedding" in needs(it).columns for it in estimators.values()):
        raise ConfigError(f"layer={config.layer}, but none of {', '.join(estimators)} reads hidden states: add bipace")


def check_embeddings(estimators: Mapping[str, Estimator], recordings: tuple[Recording, ...]) -> None:
    """Raises ConfigError where an estimator needs hidden states that an update was recorded without."""
    demanding = [label for label, estimator in estimators.items() if "embedding" in needs(estimator).columns]
    without = [recording for recording in recordings if recording.embeddings is None]
    if demanding and without:
        raise ConfigError(
            f"estimator {demanding[0]!r} needs hidden states, which {without[0].groups} was recorded without: train "
            "with record=embeddings, read them anew with layer=-2, or leave it out of estimators"
        )
