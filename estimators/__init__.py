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
    similarity,
)
from estimators.bipace import Bipace
from estimators.crbc import Crbc
from estimators.ecpo import Ecpo
from estimators.g2po import G2po
from estimators.gagpo import Gagpo
from estimators.gigpo import Gigpo
from estimators.graphgpo import Graphgpo
from estimators.grpo import Grpo
from estimators.hgpo import Hgpo
from estimators.ibpo import Ibpo
from estimators.min_form import MinForm
from estimators.options import suggestion
from estimators.own import ENTRY_POINTS, installed, loaded
from estimators.reinforce_pp import ReinforcePp
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
    "similarity",
]

ESTIMATORS: Mapping[str, Callable[..., Estimator]] = {
    "bipace": Bipace,
    "crbc": Crbc,
    "ecpo": Ecpo,
    "g2po": G2po,
    "gagpo": Gagpo,
    "gigpo": Gigpo,
    "graphgpo": Graphgpo,
    "grpo": Grpo,
    "hgpo": Hgpo,
    "ibpo": Ibpo,
    "min_form": MinForm,
    "reinforce_pp": ReinforcePp,
    "rloo": Rloo,
}

UNNAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def build(name: str, **options: Any) -> Estimator:
    """The estimator of that name with these options; those not given keep the papers' values.

    name is one of `ESTIMATORS`, or the name of an installed entry point in the group "stepcredit.estimators". With the
    option `_target_` ("package.module.Class") that class is taken, and the name is a label.

    Raises ValueError for an unknown name or option or a value out of range, with the value and the nearest right one,
    for an option without a default that is not given, and for an own estimator that cannot be loaded.
    """
    target = options.pop("_target_", None)
    make = loaded(target) if target is not None else ESTIMATORS.get(name) or installed(name)
    if make is None:
        raise ValueError(
            f"estimator {name!r} is unknown: {suggestion(name, ESTIMATORS)}; your own needs `_target_` or an entry "
            f"point in {ENTRY_POINTS!r}"
        )
    known = {key: one for key, one in inspect.signature(make).parameters.items() if one.kind not in UNNAMED}
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}: {suggestion(option, known)}")
    for option, parameter in known.items():
        if option not in options and parameter.default is parameter.empty:
            raise ValueError(f"{name}: option {option!r} is not set and has no default: add {option}=...")
    try:
        return make(**options)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
