"""Columns in, credit out: `build("gigpo", gamma=0.95)(StepBatch(...)) -> Advantages`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from estimators.base import (
    UNPARSED,
    Advantages,
    Estimator,
    StepBatch,
    action_key,
    calibrated,
    group_based,
    hidden_layer,
    requires,
)
from estimators.bipace import Bipace
from estimators.gigpo import Gigpo
from estimators.grpo import Grpo
from estimators.options import suggestion
from estimators.rloo import Rloo

__all__ = [
    "ESTIMATORS",
    "UNPARSED",
    "Advantages",
    "Estimator",
    "StepBatch",
    "action_key",
    "build",
    "calibrated",
    "group_based",
    "hidden_layer",
    "requires",
]

ESTIMATORS: Mapping[str, Callable[..., Estimator]] = {
    "bipace": Bipace,
    "gigpo": Gigpo,
    "grpo": Grpo,
    "rloo": Rloo,
}


def build(name: str, **options: Any) -> Estimator:
    """The estimator of that name with these options; those not given keep the papers' values.

    Raises ValueError for an unknown name or option or a value out of range, with the value and the nearest right one.
    """
    if name not in ESTIMATORS:
        raise ValueError(f"estimator {name!r} is unknown: {suggestion(name, ESTIMATORS)}")
    make = ESTIMATORS[name]
    known = list(inspect.signature(make).parameters)
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}: {suggestion(option, known)}")
    try:
        return make(**options)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
