"""Checks of options by the types of a dataclass's fields."""

import doctest
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen, MultipleOf

import estimators.options
from estimators.options import check_options


def check(kind, value):
    """Check `value` as the option `x` of this type."""

    @dataclass
    class Mine:
        x: kind

    check_options(Mine(value))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Annotated[float, Interval(ge=0, le=1)], [0, 0.0, 0.5, 1]),
        (Annotated[float, Gt(0), Lt(1)], [1e-300, 0.999]),
        (Annotated[float, Le(3)], [-1e300, 3]),
        (Annotated[int, Ge(1)], [1, 10**12]),
        (Annotated[int, Interval(gt=0, lt=3)], [1, 2]),
        (float, [1, -math.inf]),
        (int, [-8]),
        (bool, [True, False]),
        (Literal["a", "b"], ["a", "b"]),
        (Annotated[float, Ge(0)] | Literal["auto"], ["auto", 2.0]),
        (Annotated[float, Ge(0)] | None, [None, 2.0]),
        (Annotated[Optional[float], Ge(0)], [None, 2.0]),  # noqa: UP045  the older spelling is another type
        (int | float, [1, 0.5]),
        (str, ["anything", 3]),
        (Any, [object()]),
        (Annotated[str, "a comment"], ["anything"]),
    ],
)
def test_a_value_that_the_type_allows_passes(kind, values):
    for value in values:
        check(kind, value)


INTERVAL = Annotated[float, Interval(ge=0, le=1)]
BAD = [
    (INTERVAL, 1.5, r"x=1.5 is out of range: nearest 1.0, give a finite number in \[0.0, 1.0\]"),
    (INTERVAL, math.inf, r"x=inf is out of range: nearest 1.0, give a finite number in \[0.0, 1.0\]"),
    (INTERVAL, math.nan, r"x=nan is out of range: give a finite number in \[0.0, 1.0\]"),
    (INTERVAL, "0.5", r"x='0.5' is out of range: give a finite number in \[0.0, 1.0\]"),
    (INTERVAL, True, r"x=True is out of range: give a finite number in \[0.0, 1.0\]"),
    (INTERVAL, None, r"x=None is out of range: give a finite number in \[0.0, 1.0\]"),
    (Annotated[float, Interval(gt=0, lt=1)], 0.0, r"x=0.0 is out of range: give a finite number in \(0.0, 1.0\)"),
    (Annotated[float, Interval(gt=0, lt=1)], 1.0, r"x=1.0 is out of range: give a finite number in \(0.0, 1.0\)"),
    (Annotated[float, Ge(0)], math.inf, r"x=inf is out of range: give a finite number in \[0.0, inf\)"),
    (Annotated[float, Le(0)], 1, r"x=1 is out of range: nearest 0.0, give a finite number in \(-inf, 0.0\]"),
    (Annotated[int, Gt(0)], 0, r"x=0 is out of range: nearest 1, give an integer in \[1, inf\)"),
    (Annotated[int, Lt(0)], 0, r"x=0 is out of range: nearest -1, give an integer in \(-inf, -1\]"),
    (Annotated[int, Ge(0)], 1.0, r"x=1.0 is out of range: give an integer in \[0, inf\)"),
    (int, 1.0, r"x=1.0 is out of range: give an integer"),
    (float, "1", r"x='1' is out of range: give a number"),
    (float, math.nan, r"x=nan is out of range: give a number"),
    (bool, 1, r"x=1 is unknown: It is one of false, true"),
    (Literal["a", "b"], None, r"x=None is unknown: It is one of a, b"),
    (Annotated[float, Ge(0)] | None, -1, r"x=-1 is out of range: nearest 0.0, give a finite number in .* or null"),
    (Annotated[Optional[float], Ge(0)], -1, r"x=-1 is out of range: nearest 0.0, .* or null"),  # noqa: UP045
    (INTERVAL | Literal["auto"], "auto!", r"x='auto!' is out of range: give a finite number in .* or 'auto'"),
]


@pytest.mark.parametrize(("kind", "value", "message"), BAD, ids=[f"{kind}-{value}" for kind, value, _ in BAD])
def test_a_value_out_of_range_is_refused_with_the_nearest_right_one_and_the_range(kind, value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check(kind, value)


@pytest.mark.parametrize("kind", [Annotated[int, MultipleOf(2)], Annotated[str, MinLen(1)]], ids=str)
def test_a_constraint_that_is_not_checked_is_refused_rather_than_ignored(kind):
    with pytest.raises(ValueError, match=r"^option x: .* (is not|cannot be) checked: "):
        check(kind, 2)


def test_a_type_that_cannot_be_read_is_refused_with_the_remedy():
    @dataclass
    class Mine:
        x: "Nowhere"  # noqa: F821

    with pytest.raises(
        ValueError, match=r"types of Mine's options cannot be read .*: import them outside TYPE_CHECKING"
    ):
        check_options(Mine(1))


def test_the_example_in_the_docstring_holds():
    result = doctest.testmod(estimators.options)
    assert (result.attempted, result.failed) == (3, 0)
