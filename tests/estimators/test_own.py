"""A user's own estimator, loaded by `_target_` or by the entry point of its package."""

import re
from pathlib import Path

import pytest

from estimators import Needs, build, needs
from estimators.own import with_name

MODULE = '''
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval
from estimators import Advantages, Needs, StepBatch

@dataclass(frozen=True, kw_only=True)
class Scaled:
    """The step's own reward, scaled."""
    scale: Annotated[float, Interval(ge=0, le=4)] = 1.0
    sign: Literal["plus", "minus"] = "plus"
    needs = Needs(group_based=True)

    def __post_init__(self):
        if self.scale == 0:
            raise ValueError("scale=0 gives no credit: take another")

    def __call__(self, batch: StepBatch) -> Advantages:
        return Advantages(value=self.scale * batch.reward)

def plain(batch: StepBatch) -> Advantages:
    return Advantages(value=batch.reward)

number = 0.5

class OldStyle:
    requires = frozenset({"embedding"})
    layer = -2

    def __call__(self, batch):
        return Advantages(value=batch.reward)

class Layerless(OldStyle):
    @property
    def needs(self):
        return Needs(columns={"embedding"})

class Uncallable:
    """Nothing that gives credit."""

class Needy:
    def __init__(self, scale, *args, **kwargs):
        self.scale = scale

    def __call__(self, batch):
        return Advantages(value=self.scale * batch.reward)
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder on the path with one module of a user's, declared as an installed package's entry points."""
    (tmp_path / "own_credit.py").write_text(MODULE)
    (tmp_path / "raises_on_import.py").write_text("import a_module_that_is_not_there")
    (tmp_path / "syntax_error.py").write_text("X = = 1")
    info = tmp_path / "own_credit-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-credit\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[stepcredit.estimators]\nscaled = own_credit:Scaled\nplain = own_credit:plain\nneedy = own_credit:Needy\n"
        "lost = own_credit:Scald\ngone = raises_on_import:X\nnumber = own_credit:number\nodd = own-credit\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_a_class_is_built_with_its_options_by_target(own, rows):
    estimator = build("mine", _target_="own_credit.Scaled", scale=2.0)
    assert estimator(rows(reward=[1.0, 3.0])).value.tolist() == [2.0, 6.0]
    assert needs(estimator) == Needs(group_based=True)


def test_a_class_is_built_with_its_options_by_entry_point(own, rows):
    assert build("scaled", scale=3.0)(rows(reward=[1.0])).value.tolist() == [3.0]


@pytest.mark.parametrize(("name", "options"), [("mine", {"_target_": "own_credit.plain"}), ("plain", {})])
def test_a_plain_function_is_the_estimator_and_needs_nothing(own, rows, name, options):
    estimator = build(name, **options)
    assert estimator(rows(reward=[1.0, 3.0])).value.tolist() == [1.0, 3.0]
    assert needs(estimator) == Needs()


def test_a_required_option_is_given_like_any_other(own, rows):
    assert build("needy", scale=3.0)(rows(reward=[1.0])).value.tolist() == [3.0]


def test_a_method_of_this_package_is_preferred_to_an_entry_point_of_its_name(own, tmp_path, rows):
    (tmp_path / "own_credit-1.0.dist-info" / "entry_points.txt").write_text(
        "[stepcredit.estimators]\ngrpo = own_credit:Scaled\n"
    )
    assert type(build("grpo")).__name__ == "Grpo"


BAD = [
    ({"_target_": "own_credit.Scald"}, r"_target_='own_credit.Scald' cannot be loaded \(.*'Scald'"),
    (
        {"_target_": "own_creditt.Scaled"},
        r"_target_='own_creditt.Scaled' cannot be loaded \(ModuleNotFoundError: No module named",
    ),
    ({"_target_": "raises_on_import.X"}, r"a_module_that_is_not_there.*in the working folder or on PYTHONPATH"),
    ({"_target_": "Scaled"}, r"_target_='Scaled' cannot be loaded .*give package.module.Name"),
    ({"_target_": "own_credit.Scaled", "scael": 1.0}, r"mine has no option 'scael': did you mean 'scale'\?"),
    ({"_target_": ":Scaled"}, r"_target_=':Scaled' cannot be loaded .*give package.module.Name"),
    ({"_target_": "syntax_error.X"}, r"_target_='syntax_error.X' cannot be loaded \(.*invalid syntax"),
    ({"_target_": "own_credit.Scaled", "scale": 0.0}, r"mine: scale=0 gives no credit"),
    (
        {"_target_": "own_credit.Scaled", "scale": 5},
        r"mine: scale=5 is out of range: nearest 4.0, give a finite number",
    ),
    ({"_target_": "own_credit.Scaled", "sign": "plsu"}, r"mine: sign='plsu' is unknown: did you mean 'plus'\?"),
    (
        {"_target_": "own_credit.OldStyle"},
        r"OldStyle states requires, layer outside of `needs`.*columns=..., layer=...",
    ),
    ({"_target_": "own_credit.Layerless"}, r"mine: layer=None with columns=\['embedding'\]: give .* an integer layer"),
    ({"_target_": "own_credit.Uncallable"}, r"mine makes Uncallable, which cannot be called: give it __call__"),
    ({"_target_": "own_credit.plain", "scale": 1.0}, r"mine has no option 'scale': it has none"),
    ({"_target_": "own_credit.number"}, r"_target_='own_credit.number' is 0.5, which cannot be called: name a class"),
    ({"_target_": "own_credit.Needy"}, r"mine: option 'scale' is not set and has no default: add scale=\.\.\.$"),
    ({"_target_": "own_credit.Needy", "args": 1}, r"mine has no option 'args': It is one of "),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_built_is_refused_with_the_remedy(own, options, message):
    with pytest.raises(ValueError, match=message):
        build("mine", **options)


BROKEN = [
    (
        "lost",
        r"estimator 'lost' is the entry point 'own_credit:Scald', which cannot be loaded \(.*'Scald'\): mend or re",
    ),
    (
        "gone",
        r"'raises_on_import:X', which cannot be loaded \(No module named 'a_module_that_is_not_there'\): mend or re",
    ),
    ("odd", r"estimator 'odd' is the entry point 'own-credit', which cannot be loaded \("),
    (
        "number",
        r"estimator 'number', the entry point 'own_credit:number', is 0.5, which cannot be called: name a class",
    ),
    ("needy", r"needy: option 'scale' is not set and has no default: add scale=\.\.\.$"),
]


@pytest.mark.parametrize(("name", "message"), BROKEN, ids=[name for name, _ in BROKEN])
def test_a_broken_entry_point_is_refused_with_the_remedy(own, name, message):
    with pytest.raises(ValueError, match=message):
        build(name)


def test_the_error_for_an_unknown_name_gives_both_ways_to_load_an_own_estimator():
    with pytest.raises(ValueError, match=r"'mine' is unknown: .*your own needs `_target_` or an entry point in 'step"):
        build("mine")


def test_the_worked_example_of_the_docs_holds(tmp_path, monkeypatch, rows):
    text = (Path(__file__).parents[2] / "docs" / "guides" / "estimator.md").read_text()
    (tmp_path / "guides_credit.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1))
    monkeypatch.syspath_prepend(tmp_path)
    # Returns to go 4, 8 and 2. Turn 0: less their mean 3. Turn 1: one rollout, so 0.
    batch = rows(trajectory=[0, 0, 1], time=[0, 1, 0], reward=[0.0, 8.0, 2.0])
    result = build("mine", _target_="guides_credit.MyEstimator", gamma=0.5)(batch)
    assert result.value.tolist() == [1.0, 0.0, -1.0]
    assert result.diagnostics == {"alone": 0.5}


def test_an_estimator_without_a_name_is_named_by_the_last_part_of_its_target():
    assert with_name({"_target_": "mine.credit.Mine"}) == {"name": "Mine", "_target_": "mine.credit.Mine"}
    assert with_name({"_target_": "mine.credit.Mine", "name": "m"})["name"] == "m"
    assert with_name({"name": "gigpo"}) == {"name": "gigpo"}


def test_a_target_may_be_written_with_a_colon_as_a_worlds_is(own):
    assert build("mine", _target_="own_credit:Scaled", scale=2.0) == build(
        "mine", _target_="own_credit.Scaled", scale=2.0
    )


def test_a_target_beside_the_options_of_another_method_says_to_leave_those_out(own):
    with pytest.raises(ValueError, match=r"_target_='own_credit.Scaled' stands beside .*'bipace'.*~estimator"):
        build("bipace", _target_="own_credit.Scaled", omega=1.0)
