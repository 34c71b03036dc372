"""Credit for the steps of rollouts: `build("gigpo", gamma=0.95)(StepBatch(...)) -> Advantages`.

A new method is one file beside this one, with one import and one entry in `ESTIMATORS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import signature
from typing import Any

from estimators.base import UNPARSED, Advantages, Estimator, Needs, StepBatch, Unit, calibrated, needs
from estimators.beacon import Beacon
from estimators.bipace import Bipace
from estimators.crbc import Crbc
from estimators.ecpo import Ecpo
from estimators.g2po import G2po
from estimators.gagpo import Gagpo
from estimators.gigpo import Gigpo
from estimators.graphgpo import Graphgpo
from estimators.graphhca import Graphhca
from estimators.grpo import Grpo
from estimators.grpo_lambda import GrpoLambda
from estimators.hgpo import Hgpo
from estimators.hiper import Hiper
from estimators.ibpo import Ibpo
from estimators.istar import Istar
from estimators.min_form import MinForm
from estimators.options import made, suggestion
from estimators.own import ENTRY_POINTS, installed, loaded
from estimators.pgpo import Pgpo
from estimators.ppo import Ppo
from estimators.reinforce_pp import ReinforcePp
from estimators.rloo import Rloo
from estimators.tempo import Tempo
from estimators.toll import Toll
from estimators.turn_loo import TurnLoo

__all__ = [
    "ESTIMATORS",
    "UNPARSED",
    "Advantages",
    "Estimator",
    "Needs",
    "StepBatch",
    "Unit",
    "build",
    "calibrated",
    "needs",
]

ESTIMATORS: Mapping[str, Callable[..., Estimator]] = {
    "beacon": Beacon,
    "bipace": Bipace,
    "crbc": Crbc,
    "ecpo": Ecpo,
    "g2po": G2po,
    "gagpo": Gagpo,
    "gigpo": Gigpo,
    "graphgpo": Graphgpo,
    "graphhca": Graphhca,
    "grpo": Grpo,
    "grpo_lambda": GrpoLambda,
    "hgpo": Hgpo,
    "hiper": Hiper,
    "ibpo": Ibpo,
    "istar": Istar,
    "min_form": MinForm,
    "pgpo": Pgpo,
    "ppo": Ppo,
    "reinforce_pp": ReinforcePp,
    "rloo": Rloo,
    "tempo": Tempo,
    "toll": Toll,
    "turn_loo": TurnLoo,
}


SHARED = {field.name for field in fields(Grpo)}
"""Options that most estimators have."""


def build(name: str, **options: Any) -> Estimator:
    """The estimator of that name with these options; an option that is not given keeps the paper's value.

    name is a key of `ESTIMATORS`, or the name of an installed entry point in the group "stepcredit.estimators". With
    the option `_target_` ("package.module.Class") that class is built, and the name is only a label. The options of a
    dataclass are checked against the types of its fields.

    Raises ValueError for an unknown name or option and for a value out of range, with the value and the nearest right
    one; for a missing option without a default; and for an own estimator that cannot be loaded or states its needs
    wrongly.
    """
    target = options.pop("_target_", None)
    make = loaded(target) if target is not None else ESTIMATORS.get(name) or installed(name)
    if make is None:
        raise ValueError(
            f"estimator {name!r} is unknown: {suggestion(name, ESTIMATORS)}; your own needs `_target_` or an entry "
            f"point in {ENTRY_POINTS!r}"
        )
    remedy = ""
    if target is not None and name in ESTIMATORS:  # `+estimator._target_=...` without `~estimator`
        remedy = f"; _target_={target!r} stands beside the options of {name!r}: take these out with ~estimator"
        name = target
    elif lacking := [option for option in options if option in SHARED and option not in signature(make).parameters]:
        remedy = f"; if an experiment sets it, add {' '.join(f'~estimator.{one}' for one in lacking)}"
    estimator: Estimator = made(make, name, options, remedy)
    if not callable(estimator):
        raise ValueError(f"{name} makes {type(estimator).__name__}, which cannot be called: give it __call__(batch)")
    try:
        needs(estimator)  # refused here rather than at the first update
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return estimator
