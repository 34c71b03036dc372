"""Check an inspection before anything is computed. This imports neither torch nor transformers."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimators import ESTIMATORS, Estimator, build, needs
from trainer import checkpoint
from trainer.data.recording import Recording, recordings
from trainer.inspect.config import InspectConfig
from trainer.lab.entries import Entries, estimators_of
from trainer.lab.plan import GENERATED_COLUMNS, check_embeddings
from trainer.setup.credit import CRITIC_COLUMNS, SUBGOALS, recorded_columns
from trainer.setup.preflight import written_config

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
    """Find the recorded updates, and the estimators whose credit is shown.

    Raises ConfigError for a run without records, an update that is not recorded and an estimator that cannot run.
    """
    if config.run is None:
        return _plan_generated(config)
    run = Path(config.run).absolute()
    kept = recordings(run, config.updates)
    if config.serve:
        kept = kept[-1:]  # the newest
    settings = written_config(run) or {}
    columns = _columns(settings, kept)
    entries = config.estimators or _shown_first(settings, kept, columns)
    estimators = _estimators(entries, config, settings, columns, "which recorded rollouts have not")
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


def _columns(settings: Mapping[str, Any], kept: Sequence[Recording]) -> set[str]:
    """The optional columns of the recordings: hidden states are looked for later, a critic's are those of its run."""
    own = own_estimator(settings)
    columns = recorded_columns(settings)
    if own is not None and all(one.values for one in kept):
        columns |= needs(own).columns & CRITIC_COLUMNS
    return set(columns if settings.get("env", {}).get("style") == SUBGOALS else columns - {"switch"})


def own_estimator(settings: Mapping[str, Any]) -> Estimator | None:
    """The run's estimator; None where its settings name none of the registry, or none that can be built."""
    own = dict(settings.get("estimator", {}))
    if own.pop("name", None) not in ESTIMATORS or "_target_" in own:
        return None
    with suppress(ValueError):  # what is wrong is said where the estimator is asked for
        return build(settings["estimator"]["name"], **own)
    return None


def _shown_first(
    settings: Mapping[str, Any], kept: Sequence[Recording], columns: frozenset[str] | set[str]
) -> tuple[str, ...]:
    """The run's own estimator, if its recordings have what it needs, and two more."""
    own = own_estimator(settings)
    made = columns if all(one.embeddings for one in kept) else columns - {"embedding"}
    if own is None or not needs(own).columns <= made:
        return BESIDE
    return tuple(dict.fromkeys([settings["estimator"]["name"], *BESIDE]))


def _model(run: Path, settings: Mapping[str, Any]) -> Path | None:
    """The run's newest export, else the model that it began with, if that is a folder here."""
    source = settings.get("model", {}).get("source")
    folders = (checkpoint.newest_export(run), None if source is None else Path(source))
    return next((folder for folder in folders if folder is not None and (folder / "tokenizer.json").is_file()), None)
