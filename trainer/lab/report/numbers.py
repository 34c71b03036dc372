"""Every number of a lab on disk: lab.json written, and read again by what joins the labs of a sweep."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from estimators import Estimator
from trainer.lab.config import LabConfig
from trainer.lab.measure.credit import Shape, States
from trainer.lab.measure.recorded import Credit, UpdateCredit
from trainer.lab.measure.truth import Measured, TruthError
from trainer.lab.plan import LabPlan

FILE = "lab.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A lab as it was left. options: of every estimator, by "recorded" or "generated" and its label."""

    config: Mapping[str, Any]
    options: Mapping[str, Mapping[str, Mapping[str, Any]]]
    recorded: tuple[UpdateCredit, ...]
    truth: tuple[TruthError, ...]


def write_numbers(
    folder: Path, config: LabConfig, plan: LabPlan, recorded: Sequence[UpdateCredit], truth: Sequence[TruthError]
) -> None:
    """Write `folder`/lab.json; a number that could not be told is null."""
    numbers = {
        "config": asdict(config),
        "options": {"recorded": _options(plan.recorded), "generated": _options(plan.generated)},
        "recorded": list(map(_plain, recorded)),
        "truth": list(map(asdict, truth)),
    }
    (folder / FILE).write_text(json.dumps(_known(numbers), indent=1, allow_nan=False, default=str))


def read_numbers(folder: Path) -> Numbers:
    """What `write_numbers` wrote, without the pairs of estimators."""
    numbers = json.loads((folder / FILE).read_text())
    return Numbers(
        config=numbers["config"],
        options=numbers["options"],
        recorded=tuple(map(_update, numbers["recorded"])),
        truth=tuple(TruthError(**{key: _measured(value) for key, value in one.items()}) for one in numbers["truth"]),
    )


def _options(made: Mapping[str, Estimator]) -> dict[str, dict[str, Any]]:
    return {
        label: asdict(one) if is_dataclass(one) and not isinstance(one, type) else {} for label, one in made.items()
    }


def _plain(found: UpdateCredit) -> dict[str, Any]:
    """As JSON has it: pairs as a list."""
    pairs = [{"one": one, "other": other} | asdict(told) for (one, other), told in found.pairs.items()]
    return asdict(found) | {"pairs": pairs}


def _update(told: dict[str, Any]) -> UpdateCredit:
    credit = {name: Credit(**(one | {"shape": Shape(**one["shape"])})) for name, one in told["credit"].items()}
    return UpdateCredit(**(told | {"states": States(**told["states"]), "credit": credit, "pairs": {}}))


def _measured(value: Any) -> Any:
    if not isinstance(value, dict):
        return math.nan if value is None else value
    return Measured(**{key: math.nan if number is None else number for key, number in value.items()})


def _known(value: Any) -> Any:
    """The same with None for numbers that could not be told."""
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_known(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
