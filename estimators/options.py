"""Options of estimators: one name, one meaning, one range, checked when an estimator is built."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, get_args

from estimators.algebra.sets import Lone, Norm

EpisodeStats = Literal["trajectory", "row"]
Penalty = Literal["return", "row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Finite numbers from `low` to `high`, and the words that may stand instead of one."""

    low: float = 0.0
    high: float = math.inf
    words: tuple[str, ...] = ()
    integer: bool = False


RANGES: Mapping[str, Range] = {
    "gamma": Range(high=1.0),
    "omega": Range(),
    "similarity": Range(high=1.0),
    "invalid_penalty": Range(),
    "eps": Range(high=1.0, words=("auto",)),  # up to a right angle: beyond it a cluster's mean may vanish
    "kappa": Range(),
    "layer": Range(low=-math.inf, integer=True),
    "depth": Range(integer=True),
    "alpha": Range(high=100.0),  # of weights (k + 1)^alpha, which must stay finite
    "success_reward": Range(low=1e-6),
    "boost": Range(high=1.0),
    "decay": Range(high=1.0),
    "trace": Range(high=1.0),
    "tau": Range(low=1e-6),
    "floor": Range(low=1e-6),
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "norm": get_args(Norm),
    "episode_stats": get_args(EpisodeStats),
    "penalty": get_args(Penalty),
    "lone": get_args(Lone),
    "variant": ("q", "action_tag", "first_token", "state_only"),
    "no_contrast": ("leave_one_out", "zero"),
    "centroid": ("mean", "first"),
    "baseline": ("none", "group"),
    "silent": ("count", "skip"),
}


def check_options(estimator: Any) -> None:
    """Raise ValueError for the first field of a dataclass that is out of the range its name has above.

    The message holds the value, the nearest right one and the range. Fields with other names are left alone.
    """
    for field in fields(estimator):
        value = getattr(estimator, field.name)
        if field.name in CHOICES and value not in CHOICES[field.name]:
            raise ValueError(f"{field.name}={value!r} is unknown: {suggestion(value, CHOICES[field.name])}")
        if field.name in RANGES:
            _check_range(field.name, value, RANGES[field.name])


def suggestion(value: object, right: Iterable[str]) -> str:
    """The nearest of the `right` words and the list of them, as the end of a message."""
    words = sorted(right)
    if not words:
        return "it has none"
    nearest = get_close_matches(str(value), words, n=1, cutoff=0.0)[0]
    return f"did you mean {nearest!r}? It is one of {', '.join(words)}"


def _check_range(name: str, value: object, allowed: Range) -> None:
    if value in allowed.words:
        return
    nearest = ""
    if isinstance(value, int if allowed.integer else (int, float)) and not isinstance(value, bool):
        if math.isfinite(value) and allowed.low <= value <= allowed.high:
            return
        nearest = "" if math.isnan(value) else f"nearest {min(max(value, allowed.low), allowed.high)}, "
    kind = "an integer" if allowed.integer else "a finite number"
    words = "".join(f" or {word!r}" for word in allowed.words)
    raise ValueError(
        f"{name}={value!r} is out of range: {nearest}give {kind} in [{allowed.low}, {allowed.high}]{words}"
    )
