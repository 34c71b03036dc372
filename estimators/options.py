"""Checks of an estimator's options. The range of an option stands on its dataclass field and nowhere else.

A field says what it takes by its type: `Annotated[float, Interval(ge=0, le=1)]`, `Annotated[int, Ge(0)]`, `int`,
`float`, `bool`, `Literal["mean", "mean_std"]`, or a union of these. Fields of other types are not checked.

>>> from annotated_types import Interval
>>> @dataclass(frozen=True)
... class Mine:
...     scale: Annotated[float, Interval(ge=0, le=1)] = 0.5
>>> check_options(Mine(scale=1.5))
Traceback (most recent call last):
ValueError: scale=1.5 is out of range: nearest 1.0, give a finite number in [0.0, 1.0]
"""

import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

from annotated_types import BaseMetadata, Ge, GroupedMetadata, Gt, Le, Lt

NEAR = 0.45  # difflib's ratio: "tag" is near to "action_tag", and no word of another meaning is
_UNNAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The numbers that an option takes."""

    integer: bool
    """Whether only integers will do."""
    low: float = -math.inf
    """The lower bound."""
    high: float = math.inf
    """The upper bound."""
    excludes_low: bool = False
    """Whether `low` itself is excluded."""
    excludes_high: bool = False
    """Whether `high` itself is excluded."""
    bounded: bool = False
    """Whether the field states a range. A stated range excludes infinity, even where it has one bound only."""

    def hold(self, value: object) -> bool:
        if not self._is_number(value) or math.isnan(value):
            return False
        inside = (value > self.low if self.excludes_low else value >= self.low) and (
            value < self.high if self.excludes_high else value <= self.high
        )
        return inside and (math.isfinite(value) or not self.bounded)

    def nearest(self, value: object) -> float | None:
        """The number in the range that is nearest to `value`; None where there is none."""
        if not self._is_number(value) or math.isnan(value):
            return None
        near = min(max(value, self.low), self.high)
        return near if self.hold(near) else None

    def _is_number(self, value: object) -> TypeGuard[float]:
        return isinstance(value, int if self.integer else (int, float)) and not isinstance(value, bool)

    def __str__(self) -> str:
        kind = "an integer" if self.integer else "a finite number" if self.bounded else "a number"
        if not self.bounded:
            return kind
        left = "(" if self.excludes_low or math.isinf(self.low) else "["
        right = ")" if self.excludes_high or math.isinf(self.high) else "]"
        return f"{kind} in {left}{self.low}, {self.high}{right}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """All that an option takes: some words, some numbers, or both."""

    words: tuple[object, ...]
    """Values taken as they are: entries of a `Literal`, True and False of a `bool`, None of an optional."""
    numbers: tuple[Numbers, ...]
    """Ranges of numbers, one for each numeric type in the field's union."""

    def hold(self, value: object) -> bool:
        # By type too: 1 equals True.
        words = any(type(value) is type(word) and value == word for word in self.words)
        return words or any(numbers.hold(value) for numbers in self.numbers)

    def refusal(self, name: str, value: object) -> str:
        """One line for a value that is not allowed: the value, the nearest right one, the choice."""
        if not self.numbers:
            words = [word if isinstance(word, str) else json.dumps(word) for word in self.words]
            return f"{name}={value!r} is unknown: {suggestion(value, words)}"
        near = next((near for numbers in self.numbers if (near := numbers.nearest(value)) is not None), None)
        nearest = "" if near is None else f"nearest {near}, "
        words = [repr(word) if isinstance(word, str) else json.dumps(word) for word in self.words]
        choice = " or ".join([*map(str, self.numbers), *words])
        return f"{name}={value!r} is out of range: {nearest}give {choice}"


def check_options(estimator: object) -> None:
    """Raise ValueError for the first field of a dataclass whose value its type does not allow.

    The message holds the value, the nearest right one and the range or the choice. An estimator that is no dataclass
    states no options to check.
    """
    if not is_dataclass(estimator):
        return
    for name, allowed in _options_of(type(estimator)).items():
        value = getattr(estimator, name)
        if not allowed.hold(value):
            raise ValueError(allowed.refusal(name, value))


def made(make: Callable[..., Any], who: str, options: Mapping[str, Any], remedy: str = "") -> Any:
    """What `make` builds of its options, checked.

    Raises ValueError for an option that it has not, for one without a default that is missing, and for a value out of
    range. who: what the messages call it. remedy: what else to say of an option that it has not.
    """
    parameters = {key: p for key, p in inspect.signature(make).parameters.items() if p.kind not in _UNNAMED}
    for option in options:
        if option not in parameters:
            raise ValueError(f"{who} has no option {option!r}: {suggestion(option, parameters)}{remedy}")
    for option, parameter in parameters.items():
        if option not in options and parameter.default is parameter.empty:
            raise ValueError(f"{who}: option {option!r} is not set and has no default: add {option}=...")
    try:
        result = make(**options)
        check_options(result)
    except ValueError as error:
        raise ValueError(f"{who}: {error}") from error
    return result


def suggestion(value: object, right: Iterable[str]) -> str:
    """The nearest of the `right` words and the list of them, as the end of a message."""
    words = sorted(right)
    if not words:
        return "it has none"
    near = get_close_matches(str(value), words, n=1, cutoff=NEAR)
    return f"{f'did you mean {near[0]!r}? ' if near else ''}It is one of {', '.join(words)}"


@cache
def _options_of(cls: type) -> Mapping[str, Allowed]:
    """What each field of a dataclass allows; fields of types that are not checked are left out."""
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise ValueError(
            f"the types of {cls.__name__}'s options cannot be read ({error}): import them outside TYPE_CHECKING"
        ) from error
    options = {field.name: _allowed(field.name, hints[field.name]) for field in fields(cls)}
    return {name: allowed for name, allowed in options.items() if allowed is not None}


def _allowed(name: str, hint: Any) -> Allowed | None:
    words: list[object] = []
    numbers: list[Numbers] = []
    checked = True
    for kind, metadata in _alternatives(hint, ()):
        constraints = list(_constraints(metadata))
        if get_origin(kind) is Literal:
            words += get_args(kind)
        elif kind is bool:
            words += (True, False)
        elif kind is NoneType:
            words.append(None)
        elif kind in (int, float):
            numbers.append(_numbers(name, kind is int, constraints))
        elif constraints:
            raise ValueError(f"option {name}: {constraints[0]} on {kind} cannot be checked: check it in __post_init__")
        else:
            checked = False
    return Allowed(words=tuple(words), numbers=tuple(numbers)) if checked else None


def _alternatives(hint: Any, metadata: tuple[object, ...]) -> Iterator[tuple[Any, tuple[object, ...]]]:
    """Each plain type of a hint, with the metadata that stands on it or on a union around it."""
    if get_origin(hint) is Annotated:
        inner, *own = get_args(hint)
        yield from _alternatives(inner, (*metadata, *own))
    elif get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _alternatives(part, metadata)
    else:
        yield hint, metadata


def _constraints(metadata: Iterable[object]) -> Iterator[BaseMetadata]:
    """The constraints among the metadata, groups such as `Interval` taken apart."""
    for entry in metadata:
        if isinstance(entry, GroupedMetadata):
            yield from _constraints(entry)
        elif isinstance(entry, BaseMetadata):
            yield entry


def _numbers(name: str, integer: bool, constraints: Iterable[BaseMetadata]) -> Numbers:
    bounds: dict[str, Any] = {}
    low: Any
    high: Any
    for constraint in constraints:
        match constraint:
            case Ge(ge=low):
                bounds["low"] = low
            case Gt(gt=low):
                bounds |= {"low": low + 1} if integer else {"low": low, "excludes_low": True}
            case Le(le=high):
                bounds["high"] = high
            case Lt(lt=high):
                bounds |= {"high": high - 1} if integer else {"high": high, "excludes_high": True}
            case _:
                raise ValueError(f"option {name}: {constraint} is not checked: use Interval, Ge, Gt, Le, Lt or Literal")
    if not integer:
        bounds |= {key: float(bounds[key]) for key in ("low", "high") if key in bounds}
    return Numbers(integer=integer, bounded=bool(bounds), **bounds)
