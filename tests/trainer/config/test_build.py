"""The door's types: what fits becomes a frozen dataclass, what does not is refused with key, value and remedy."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config.build import ConfigError, build


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    rate: float = 0.5
    mode: Literal["slow", "fast"] = "slow"

    def __post_init__(self) -> None:
        if self.rate > 1:
            raise ValueError(f"inner.rate={self.rate} is out of range: choose 1 or less")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    count: int = 1
    flag: bool = False
    limit: int | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    sizes: tuple[int, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


def test_plain_values_become_the_typed_whole() -> None:
    values = {
        "name": "run",
        "count": 2,
        "flag": True,
        "limit": None,
        "betas": [0, 1],
        "sizes": [1, 2, 3],
        "extra": {"anything": [1, "goes"]},
        "inner": {"rate": 1, "mode": "fast"},
    }
    assert build(Outer, values) == Outer(
        name="run",
        count=2,
        flag=True,
        betas=(0.0, 1.0),
        sizes=(1, 2, 3),
        extra={"anything": [1, "goes"]},
        inner=Inner(rate=1.0, mode="fast"),
    )


def test_what_is_left_out_keeps_its_default() -> None:
    assert build(Outer, {"name": "run", "inner": {"mode": "fast"}}) == Outer(name="run", inner=Inner(mode="fast"))


def test_a_whole_number_for_a_float_becomes_one() -> None:
    assert type(build(Inner, {"rate": 1}).rate) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nam": "x"}, "unknown setting nam='x': did you mean 'name'?"),
        (
            {"name": "x", "zzz": 1},
            "unknown setting zzz=1: known: name, count, flag, limit, betas, sizes, extra, inner",
        ),
        ({"name": "x", "inner": {"rat": 0.1}}, "unknown setting inner.rat=0.1: did you mean 'rate'?"),
        ({}, "name is not set: add name=..."),
        ({"name": 3}, "name=3 is not of type str"),
        ({"name": "x", "count": 1.5}, "count=1.5 is not of type int"),
        ({"name": "x", "count": True}, "count=True is not of type int"),
        ({"name": "x", "count": "1"}, "count='1' is not of type int"),
        ({"name": "x", "count": None}, "count=None is not of type int"),
        ({"name": "x", "flag": 1}, "flag=1 is not of type bool"),
        ({"name": "x", "limit": "none"}, "limit='none' is not of type int"),
        ({"name": "x", "betas": 0.9}, "betas=0.9 is not a list: write betas=[...]"),
        ({"name": "x", "betas": [0.9]}, "betas=[0.9] has 1 entries, expected 2"),
        ({"name": "x", "betas": [0.9, "b"]}, "betas[1]='b' is not of type float"),
        ({"name": "x", "sizes": [1, 2.5]}, "sizes[1]=2.5 is not of type int"),
        ({"name": "x", "extra": 4}, "extra=4 is not a group of settings"),
        ({"name": "x", "inner": "fast"}, "inner='fast' is not a group of settings"),
        ({"name": "x", "inner": None}, "inner=None is not a group of settings"),
        ({"name": "x", "inner": {"rate": True}}, "inner.rate=True is not of type float"),
        ({"name": "x", "inner": {"rate": "1e-3"}}, "inner.rate='1e-3' is not of type float"),
        ({"name": "x", "inner": {"mode": "medium"}}, "inner.mode='medium': choose one of 'slow', 'fast'"),
        ({"name": "x", "inner": {"rate": 2.0}}, "inner.rate=2.0 is out of range: choose 1 or less"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path_and_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(Outer, values)
    assert str(refusal.value) == message


@given(
    st.builds(
        Outer,
        name=st.text(),
        count=st.integers(),
        flag=st.booleans(),
        limit=st.none() | st.integers(),
        betas=st.tuples(*[st.floats(allow_nan=False)] * 2),
        sizes=st.lists(st.integers()).map(tuple),
        extra=st.dictionaries(st.text(), st.integers()),
        inner=st.builds(Inner, rate=st.floats(max_value=1, allow_nan=False), mode=st.sampled_from(["slow", "fast"])),
    )
)
def test_every_config_comes_back_from_its_plain_form(config: Outer) -> None:
    assert build(Outer, asdict(config)) == config
