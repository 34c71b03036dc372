"""Every number of a lab on disk: lab.json is written here, and read here to join the labs of a sweep."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from estimators import Estimator
from trainer.lab.measure.credit import CreditStatistics, StateStatistics
from trainer.lab.measure.estimated import AgainstEstimate
from trainer.lab.measure.jackknife import ConfidenceInterval
from trainer.lab.measure.recorded import Credit, UpdateCredit
from trainer.lab.measure.truth import TruthComparison

FILE = "lab.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """All that a lab measured, and the settings it was measured with."""

    config: Mapping[str, Any]
    """The lab's settings, nested as in configs/lab.yaml."""

    options: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """The options of every estimator, by "recorded" or "generated" and by label."""

    recorded: tuple[UpdateCredit, ...]
    """The recorded updates, in the order read."""

    truth: tuple[TruthComparison, ...]
    """The comparisons by world, then group size, then estimator."""


def options_of(estimators: Mapping[str, Estimator]) -> dict[str, dict[str, Any]]:
    """The options of each estimator, by its label. An estimator that is no dataclass has none."""
    return {
        label: asdict(estimator) if is_dataclass(estimator) and not isinstance(estimator, type) else {}
        for label, estimator in estimators.items()
    }


def write_numbers(folder: Path, numbers: Numbers) -> None:
    """Write `folder`/lab.json. An undefined number is null there."""
    values = {
        "config": numbers.config,
        "options": numbers.options,
        "recorded": list(map(_update_to_json, numbers.recorded)),
        "truth": [asdict(comparison) for comparison in numbers.truth],
    }
    (folder / FILE).write_text(json.dumps(_nan_to_none(values), indent=1, allow_nan=False, default=str))


def read_numbers(folder: Path) -> Numbers:
    """Read the lab.json that `write_numbers` wrote. The `pairs` of each update are not read and come back empty."""
    values = json.loads((folder / FILE).read_text())
    return Numbers(
        config=values["config"],
        options=values["options"],
        recorded=tuple(map(_update_from_json, values["recorded"])),
        truth=tuple(map(_comparison_from_json, values["truth"])),
    )


def _update_to_json(update: UpdateCredit) -> dict[str, Any]:
    """Pairs of names cannot be keys, so the agreements become a list; the statistics keep their old key, "shape"."""
    credit = {
        name: {
            "shape": asdict(entry.statistics),
            "ms": entry.ms,
            "diagnostics": entry.diagnostics,
            "truth": None if entry.truth is None else asdict(entry.truth),
        }
        for name, entry in update.credit.items()
    }
    pairs = [{"one": first, "other": second} | asdict(pair) for (first, second), pair in update.pairs.items()]
    return asdict(update) | {"credit": credit, "pairs": pairs}


def _update_from_json(values: dict[str, Any]) -> UpdateCredit:
    credit = {
        name: Credit(
            statistics=CreditStatistics(**entry["shape"]),
            ms=entry["ms"],
            diagnostics=entry["diagnostics"],
            truth=_against_from_json(entry.get("truth")),
        )
        for name, entry in values["credit"].items()
    }
    return UpdateCredit(**(values | {"states": StateStatistics(**values["states"]), "credit": credit, "pairs": {}}))


def _against_from_json(values: Mapping[str, Any] | None) -> AgainstEstimate | None:
    """None too in a file from before there were any."""
    if values is None:
        return None
    return AgainstEstimate(**{key: value and _number_from_json(value) for key, value in values.items()})


def _comparison_from_json(values: Mapping[str, Any]) -> TruthComparison:
    layouts = tuple(map(_comparison_from_json, values["layouts"]))
    numbers = {key: _number_from_json(value) for key, value in values.items() if key != "layouts"}
    return TruthComparison(**numbers, layouts=layouts)


def _number_from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return math.nan if value is None else value
    return ConfidenceInterval(**{key: math.nan if number is None else number for key, number in value.items()})


def _nan_to_none(value: Any) -> Any:
    """The same, nested as it is, with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _nan_to_none(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
