"""Ranges that stand on a field, as `Annotated[float, Interval(gt=0, lt=1)]`: whether a value is in, and in words."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from annotated_types import DocInfo, Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen, MultipleOf, Predicate


def in_range(value: Any, metadata: Iterable[Any]) -> bool:
    """Whether every constraint holds. `metadata` is what stands behind the type in `Annotated[...]`."""
    return all(_holds(item, value) for item in _flat(metadata))


def range_words(metadata: Iterable[Any]) -> str:
    """The allowed values in words, such as "a value in (0, 1]". Empty if the field has no range.

    `metadata` is what stands behind the type in `Annotated[...]`. A `doc(...)` among it replaces the words.
    """
    constraints = list(_flat(metadata))
    for item in constraints:
        if isinstance(item, DocInfo):
            return item.documentation
    low = next((item for item in constraints if isinstance(item, Ge | Gt)), None)
    high = next((item for item in constraints if isinstance(item, Le | Lt) and _bound(item) != math.inf), None)
    factor = next((item for item in constraints if isinstance(item, MultipleOf)), None)
    if factor is not None:
        return f"a multiple of {factor.multiple_of}"
    if low is None:
        return "" if high is None else f"{_bound(high)} or less"
    if high is not None:
        left, right = "[" if isinstance(low, Ge) else "(", "]" if isinstance(high, Le) else ")"
        return f"a value in {left}{_bound(low)}, {_bound(high)}{right}"
    return f"{_bound(low)} or more" if isinstance(low, Ge) else f"a value above {_bound(low)}"


def _holds(constraint: Any, value: Any) -> bool:
    match constraint:
        case Ge(ge=bound):
            return value >= bound
        case Gt(gt=bound):
            return value > bound
        case Le(le=bound):
            return value <= bound
        case Lt(lt=bound):
            return value < bound
        case MultipleOf(multiple_of=factor):
            return value % factor == 0
        case MinLen(min_length=bound):
            return len(value) >= bound
        case MaxLen(max_length=bound):
            return len(value) <= bound
        case Predicate(func=test):
            return test(value)
        case _:
            return True


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    """The constraints one by one. An `Interval` holds up to four of them."""
    for item in metadata:
        if isinstance(item, GroupedMetadata):
            yield from item
        else:
            yield item


def _bound(constraint: Any) -> Any:
    match constraint:
        case Ge(ge=bound) | Gt(gt=bound) | Le(le=bound) | Lt(lt=bound):
            return bound
        case _:
            raise TypeError(f"{constraint!r} is no bound")
