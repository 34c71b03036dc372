"""`Needs`: what an estimator asks of the trainer, where it may state it, and what is refused."""

import numpy as np
import pytest

from estimators import Advantages, Needs, calibrated, needs


def nothing(batch):
    return Advantages(value=np.zeros(len(batch)))


def stating(**attributes):
    """An estimator whose class has these attributes."""
    return type("Mine", (), {"__call__": lambda self, batch: nothing(batch), **attributes})()


def test_a_plain_function_needs_nothing_and_measures_nothing(rows):
    assert needs(nothing) == Needs(
        columns=frozenset(), layer=None, action_key="action", similarity=1.0, group_based=False
    )
    assert calibrated(nothing, rows(reward=[1.0])) is nothing


def test_a_function_may_state_its_needs_as_an_attribute():
    def first_tokens(batch):
        return nothing(batch)

    first_tokens.needs = Needs(action_key="first_token")
    assert needs(first_tokens).action_key == "first_token"


def test_a_class_states_its_needs_as_an_attribute_or_a_property():
    stated = Needs(columns=frozenset({"embedding"}), layer=-2)
    assert needs(stating(needs=stated)) == stated
    assert needs(stating(needs=property(lambda self: stated))) == stated


@pytest.mark.parametrize(("column", "revisions"), [("repair", True), ("edited", True), ("embedding", False)])
def test_either_column_of_the_revision_phase_asks_for_it(column, revisions):
    layer = -2 if column == "embedding" else None
    assert Needs(columns=frozenset({column}), layer=layer).revisions is revisions


def test_columns_may_be_given_as_any_set_of_names():
    assert Needs(columns={"repair"}) == Needs(columns=frozenset({"repair"}))


@pytest.mark.parametrize("name", ["requires", "layer", "action_key", "similarity", "group_based"])
def test_a_need_stated_outside_of_needs_is_refused_rather_than_ignored(name):
    part = "columns" if name == "requires" else name
    with pytest.raises(ValueError, match=rf"^Mine states {name} outside of `needs`, .*write needs = Needs\({part}=..."):
        needs(stating(**{name: None}))


def test_an_option_may_have_the_name_of_a_need_where_needs_is_stated():
    assert needs(stating(similarity=0.5, needs=Needs())) == Needs()


@pytest.mark.parametrize("stated", [{"layer": -2}, lambda self: Needs()], ids=["mapping", "method"])
def test_needs_of_another_type_are_refused(stated):
    with pytest.raises(ValueError, match=r"^Mine.needs is .*: make it an attribute or a property of type Needs"):
        needs(stating(needs=stated))


def test_a_property_that_breaks_is_not_taken_for_a_missing_one():
    with pytest.raises(AttributeError, match="layr"):
        needs(stating(needs=property(lambda self: Needs(layer=self.layr))))


BAD = [
    ({"columns": "embedding"}, r"columns='embedding' is one word: give a set, columns=\{'embedding'\}"),
    (
        {"columns": {"embedding"}},
        r"layer=None with columns=\['embedding'\]: give an embedding an integer layer, such as",
    ),
    ({"columns": {"embedding"}, "layer": "-8"}, r"layer='-8' is out of range: give an integer or null"),
    ({"layer": -8}, r"layer=-8 with columns=\[\]: .*leave the layer out without one"),
    (
        {"columns": {"similar"}},
        r"similarity=1.0 with columns=\['similar'\]: give the column 'similar' a similarity below",
    ),
    ({"similarity": 0.9}, r"similarity=0.9 with columns=\[\]: .*leave it at 1 without the column"),
    ({"similarity": 1.5}, r"similarity=1.5 is out of range: nearest 1.0"),
    ({"action_key": "token"}, r"action_key='token' is unknown: did you mean 'first_token'\?"),
]


@pytest.mark.parametrize(("parts", "message"), BAD, ids=[message for _, message in BAD])
def test_needs_that_do_not_go_together_are_refused_with_the_remedy(parts, message):
    with pytest.raises(ValueError, match=message):
        Needs(**parts)
