"""Check an inspection before anything is computed. This imports neither torch nor transformers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimators import ESTIMATORS, Estimator, build, needs
from trainer import checkpoint
from trainer.inspect.config import InspectConfig
from trainer.lab.entries import Entries, estimators_of
from trainer.lab.measure.recording import Recording, recordings
from trainer.lab.plan import GENERATED_COLUMNS, check_embeddings, settings_beside
from trainer.setup.credit import CRITIC_COLUMNS, MADE_COLUMNS

BESIDE = ("gigpo", "grpo")
"""Shown beside the run's own estimator, where nobody names any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectPlan:
    """A page that can be written."""

    config: InspectConfig
    """What was asked for."""

    settings: Mapping[str, Any]
    """The run's settings; empty where no config.json lies beside its rollouts, and without a run."""

    recordings: tuple[Recording, ...]
    """The updates to show; empty without a run."""

    estimators: Mapping[str, Estimator]
    """What the credit is computed by, by label; the first is shown first."""

    model: Path | None
    """A Hugging Face folder of the run, whose tokenizer spells its tokens; None where the run has none."""


def plan_inspect(config: InspectConfig) -> InspectPlan:
    """Raises ConfigError for a run without records, an update that is not recorded and an estimator that cannot run."""
    if config.run is None:
        return _plan_generated(config)
    run = Path(config.run).absolute()
    kept = recordings(run, config.updates)
    settings = settings_beside(run)
    estimators = _estimators(
        config.estimators or _shown_first(settings, kept),
        config,
        settings,
        MADE_COLUMNS - CRITIC_COLUMNS - {"switch"},
        "which recorded rollouts have not",
    )
    check_embeddings(estimators, kept)
    return InspectPlan(
        config=config, settings=settings, recordings=kept, estimators=estimators, model=_model(run, settings)
    )


def _plan_generated(config: InspectConfig) -> InspectPlan:
    entries = config.estimators or ("gigpo", "bipace", "grpo")
    estimators = _estimators(entries, config, {}, GENERATED_COLUMNS, "which generated worlds have not")
    return InspectPlan(config=config, settings={}, recordings=(), estimators=estimators, model=None)


def _estimators(
    entries: Entries, config: InspectConfig, run: Mapping[str, Any], columns: frozenset[str] | set[str], why: str
) -> dict[str, Estimator]:
    return estimators_of(entries, presets=config.presets, swept={}, run=run, columns=columns, why=why)


def _shown_first(settings: Mapping[str, Any], kept: Sequence[Recording]) -> tuple[str, ...]:
    """The run's own estimator, if its recordings have what it needs, and two more."""
    own = settings.get("estimator", {})
    name = own.get("name")
    if name not in ESTIMATORS or "_target_" in own:
        return BESIDE
    unmade = {"values"} if all(one.embeddings for one in kept) else {"values", "embedding"}
    return tuple(dict.fromkeys([name, *BESIDE])) if unmade.isdisjoint(needs(build(name)).columns) else BESIDE


def _model(run: Path, settings: Mapping[str, Any]) -> Path | None:
    """The run's newest export, else the model that it began with, if that is a folder here."""
    source = settings.get("model", {}).get("source")
    folders = (checkpoint.newest_export(run), None if source is None else Path(source))
    return next((folder for folder in folders if folder is not None and (folder / "tokenizer.json").is_file()), None)
