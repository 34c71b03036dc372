"""Building configs: what fits becomes a frozen dataclass, what does not is refused with name, value and remedy."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt, MultipleOf, Predicate, doc
from hypothesis import given
from hypothesis import strategies as st

from trainer.config.build import ConfigError, build, nearest_setting
from trainer.config.commands import DemosConfig, EvaluateConfig, QuickstartConfig, TrainConfig, WarmstartConfig
from trainer.config.derived import Follows, Rule, Unused
from trainer.config.ranges import range_words
from trainer.lab.config import LabConfig


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
        ({"name": "x", "count": 1.5}, "count=1.5 is not of type int: give a whole number, such as 4"),
        ({"name": "x", "count": True}, "count=true is not of type int: give a whole number, such as 4"),
        ({"name": "x", "count": "1"}, "count='1' is not of type int: give a whole number, such as 4"),
        ({"name": "x", "count": None}, "count=null is not of type int: give a whole number, such as 4"),
        ({"name": "x", "flag": 1}, "flag=1 is not of type bool: give true or false"),
        ({"name": "x", "limit": "none"}, "limit='none' is not of type int: give a whole number, such as 4"),
        ({"name": "x", "betas": 0.9}, "betas=0.9 is not a list: write betas=[...]"),
        ({"name": "x", "betas": [0.9]}, "betas=[0.9] has 1 entries, expected 2"),
        ({"name": "x", "betas": [0.9, "b"]}, "betas[1]='b' is not of type float: give a number, such as 0.5"),
        ({"name": "x", "sizes": [1, 2.5]}, "sizes[1]=2.5 is not of type int: give a whole number, such as 4"),
        ({"name": "x", "extra": 4}, "extra=4 is not a group of settings"),
        ({"name": "x", "inner": "fast"}, "inner='fast' is not a group of settings"),
        ({"name": "x", "inner": None}, "inner=null is not a group of settings"),
        ({"name": "x", "inner": {"rate": True}}, "inner.rate=true is not of type float: give a number, such as 0.5"),
        (
            {"name": "x", "inner": {"rate": "1e-3"}},
            "inner.rate='1e-3' is not of type float: give a number, such as 0.5",
        ),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranged:
    share: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    width: Annotated[int, MultipleOf(8)] = 8
    limit: Annotated[int | None, Ge(1), doc("1 or more, or null for no limit")] = None
    betas: tuple[Annotated[float, Interval(ge=0, lt=1)], ...] = ()
    name: Annotated[str, Predicate(str.islower), doc("a name in small letters")] = "x"


@dataclass(frozen=True, slots=True, kw_only=True)
class WithRanged:
    ranged: Ranged = field(default_factory=Ranged)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 1.0}, "ranged.share=1.0 is out of range: choose a value in (0, 1)"),
        ({"share": 0}, "ranged.share=0.0 is out of range: choose a value in (0, 1)"),
        ({"share": float("nan")}, "ranged.share=nan is out of range: choose a value in (0, 1)"),
        ({"width": 12}, "ranged.width=12 is out of range: choose a multiple of 8"),
        ({"limit": 0}, "ranged.limit=0 is out of range: choose 1 or more, or null for no limit"),
        ({"betas": [0.5, 1.0]}, "ranged.betas[1]=1.0 is out of range: choose a value in [0, 1)"),
        ({"name": "X"}, "ranged.name=X is out of range: choose a name in small letters"),
    ],
)
def test_a_value_out_of_the_range_on_its_field_is_refused_by_its_dotted_name(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(WithRanged, {"ranged": values})
    assert str(refusal.value) == message


def test_a_value_at_a_closed_bound_is_in_range_and_null_is_where_the_type_allows_it() -> None:
    assert build(Ranged, {"limit": 1, "betas": [0.0], "width": 16}) == Ranged(limit=1, betas=(0.0,), width=16)
    assert build(Ranged, {"limit": None}).limit is None


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        ([Ge(1)], "1 or more"),
        ([Gt(0)], "a value above 0"),
        ([Le(8)], "8 or less"),
        ([Interval(gt=0, le=1)], "a value in (0, 1]"),
        ([Ge(0), Lt(1)], "a value in [0, 1)"),
        ([Interval(gt=0, lt=float("inf"))], "a value above 0"),
        ([Ge(64), MultipleOf(64)], "a multiple of 64"),
        ([Ge(0), doc("0 (greedy) or more")], "0 (greedy) or more"),
        ([], ""),
    ],
)
def test_a_range_is_put_in_words(constraints: list[Any], words: str) -> None:
    assert range_words(constraints) == words


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    gpus: Annotated[int, Ge(0)] = 0
    workers: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    heat: Annotated[float, Gt(0)] = 1.0
    gpus: int = 0
    unused: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    derived: ClassVar[Mapping[str, Rule]] = {
        "machine.workers": Follows(source="machine.gpus", by=lambda gpus: 2 * gpus, free=True),
        "part.gpus": Follows(source="machine.workers"),
        "part.heat": Follows(source="heat"),
        "part.unused": Unused(value=7, reason="nobody reads it"),
    }
    heat: Annotated[float, Ge(0)]
    machine: Machine = field(default_factory=Machine)
    part: Part


def test_derived_settings_are_filled_in_and_may_follow_each_other() -> None:
    config = build(Whole, {"heat": 2, "machine": {"gpus": 3}})
    assert config == Whole(heat=2.0, machine=Machine(gpus=3, workers=6), part=Part(heat=2.0, gpus=6, unused=7))


def test_a_derived_setting_that_is_free_keeps_what_the_user_sets_and_null_derives_it() -> None:
    assert build(Whole, {"heat": 1, "machine": {"gpus": 3, "workers": 4}}).part.gpus == 4
    assert build(Whole, {"heat": 1, "machine": {"gpus": 3, "workers": None}}).part.gpus == 6


def test_filling_in_leaves_the_users_values_alone() -> None:
    values: dict[str, Any] = {"heat": 1, "machine": {"gpus": 3}}
    build(Whole, values)
    assert values == {"heat": 1, "machine": {"gpus": 3}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "heat is not set: add heat=..."),
        ({"heat": "???"}, "heat is not set: add heat=..."),
        ({"heat": "warm"}, "heat='warm' is not of type float: give a number, such as 0.5"),
        # The source allows 0, the setting that follows it does not: the user wrote the source.
        ({"heat": 0}, "heat=0.0 is out of range: choose a value above 0"),
        ({"heat": 1, "machine": {"gpus": -1}}, "machine.gpus=-1 is out of range: choose 0 or more"),
        ({"heat": 1, "machine": 3}, "machine=3 is not a group of settings"),
        ({"heat": 1, "part": 3}, "part=3 is not a group of settings"),
        ({"heat": 1, "part": {"heat": 1}}, "part.heat=1 cannot be set by hand: it follows from heat, set that instead"),
        ({"heat": 1, "part": {"unused": 7}}, "part.unused=7 cannot be set by hand: nobody reads it; leave it out"),
    ],
)
def test_a_derived_setting_is_refused_under_the_name_that_the_user_can_set(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(Whole, values)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("kind", "key", "siblings", "remedy"),
    [
        (TrainConfig, "updtes", (), "did you mean 'updates'?"),
        (TrainConfig, "learner.lerning_rate", (), "did you mean 'learner.learning_rate'?"),
        (TrainConfig, "learner.loss.clip_lo", (), "did you mean 'learner.loss.clip_low'?"),
        (TrainConfig, "learner.los.clip_low", (), "did you mean 'learner.loss.clip_low'?"),
        (TrainConfig, "lerner.loss.clip_low", (), "did you mean 'learner.loss.clip_low'?"),
        (TrainConfig, "model.tiny.layer", (), "did you mean 'model.tiny.layers'?"),
        # The right name in the wrong group.
        (TrainConfig, "learner.kl_coef", (), "did you mean 'learner.loss.kl_coef'?"),
        (TrainConfig, "kl_coef", (), "did you mean 'learner.loss.kl_coef'?"),
        (TrainConfig, "model.learning_rate", (), "did you mean 'model.tuning.learning_rate'?"),
        # A word of the name, anywhere or in the group that was written.
        (EvaluateConfig, "split", (), "did you mean 'env.train_split' or 'env.validation_split'?"),
        (TrainConfig, "env.split", (), "did you mean 'env.train_split' or 'env.validation_split'?"),
        (EvaluateConfig, "concurrency", (), "did you mean 'endpoint_concurrency'?"),
        (QuickstartConfig, "warmstart.epoch", (), "did you mean 'warmstart.epochs'?"),
        (DemosConfig, "mistake", (), "did you mean 'mistakes'?"),
        (LabConfig, "estimatr", (), "did you mean 'estimators'?"),
        # Derived settings name their source; so do those that a command does not use.
        (TrainConfig, "rollout.history", (), "it follows from env.history, set that instead"),
        (TrainConfig, "learner.temperature", (), "it follows from sampling.temperature, set that instead"),
        (EvaluateConfig, "engine.sleep", (), "no learner shares the GPU; leave it out"),
        (
            WarmstartConfig,
            "learner.loss.kl_coef",
            (),
            "a warm start has the likelihood loss alone, and for an adapter learner=lora_finetune; leave it out",
        ),
        # A world's options are known to the composed config only.
        (TrainConfig, "env.options.max_step", ("max_steps", "distractors"), "did you mean 'env.options.max_steps'?"),
        (TrainConfig, "engine.extra.zzz", (), "to add an option of your own, write +engine.extra.zzz=..."),
        # Nothing is near.
        (TrainConfig, "checkpoint.zzzz", (), "known: checkpoint.every, checkpoint.export_every, checkpoint.keep"),
        (DemosConfig, "zzzz", (), "known: output, env, model, tasks, passes, mistakes, revisions, seed"),
    ],
)
def test_an_unknown_setting_leads_to_the_nearest_one_at_any_depth(
    kind: type, key: str, siblings: tuple[str, ...], remedy: str
) -> None:
    assert nearest_setting(kind, key, siblings) == remedy
