"""The estimators that a lab names: entries, presets and swept options made into estimators with labels."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal

from estimators import ESTIMATORS, Estimator, build, needs
from estimators.options import suggestion
from estimators.own import with_name
from trainer.config.build import ConfigError
from trainer.lab.worlds.tabular import SUCCESS_REWARD

Entries = Sequence[str | Mapping[str, Any]] | Literal["all"]
"""Names of estimators or presets, or mappings of a name and options; "all" are those of the registry."""


def estimators_of(
    entries: Entries,
    *,
    presets: Mapping[str, Mapping[str, Any]],
    swept: Mapping[str, Any],
    run: Mapping[str, Any],
    columns: frozenset[str] | set[str],
    why: str,
) -> dict[str, Estimator]:
    """The estimators by label. Raises ConfigError for an entry that names none, and for one that cannot run here.

    swept: an option for every estimator that has it; None leaves it alone. run: the run's settings.
    columns: the optional columns that there are; why: what to say to an entry that needs another one. With "all",
    estimators that need another one are left out.

    The first of these that sets an option wins: the entry, `swept`, the preset, the run, the paper.
    """
    estimators: dict[str, Estimator] = {}
    for entry in ESTIMATORS if entries == "all" else entries:
        own = {"name": entry} if isinstance(entry, str) else with_name(entry)
        if "name" not in own:
            raise ConfigError(f"estimators has {own} without a name: write {{name: gigpo, ...}}")
        name = str(own.pop("name"))
        label = " ".join([name, *(f"{key}={value}" for key, value in own.items() if key != "_target_")])
        if label in estimators:
            raise ConfigError(f"estimators has {label!r} twice: leave one out, or give them different options")
        if "/" in name and name not in presets and "_target_" not in own:
            raise ConfigError(f"estimators has {name!r}, which is no preset: {suggestion(name, presets)}")
        preset = dict(presets.get(name, {}))
        name = str(preset.pop("name", name))
        try:
            options = options_of(build(name, **(preset | own)))
            of_run = {key: value for key, value in _of_run(name, run).items() if key in options}
            sweep = {key: value for key, value in swept.items() if key in options and value is not None}
            estimators[label] = build(name, **(of_run | preset | sweep | own))
        except ValueError as error:
            raise ConfigError(str(error)) from error
    missing = {label: needs(estimator).columns - columns for label, estimator in estimators.items()}
    if entries == "all":
        return {label: estimator for label, estimator in estimators.items() if not missing[label]}
    for label, columns_missing in missing.items():
        if columns_missing:
            raise ConfigError(f"estimator {label!r} needs the columns {sorted(columns_missing)}, {why}")
    return estimators


def options_of(estimator: Estimator) -> set[str]:
    """The names of an estimator's options."""
    return {option.name for option in fields(estimator)} if is_dataclass(estimator) else set()


def _of_run(name: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """Options from the run: all of them for the run's own estimator, for others the reward and the model's tuning."""
    facts = {"success_reward": run.get("rollout", {}).get("success_reward", SUCCESS_REWARD)}
    tuning = run.get("model", {}).get("tuning", {})
    facts |= {key: tuning[key] for key in ("eps", "layer") if key in tuning}
    own = dict(run.get("estimator", {}))
    return facts | own if own.pop("name", None) == name else facts
