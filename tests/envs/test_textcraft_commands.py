"""TextCraft's commands and the replies to them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.textcraft.book import OWN_RECIPES, RecipeBook, load_book
from envs.textcraft.commands import execute, is_command, state_text

ROPE, TWINE, POLE, NET = (f"minecraft:{name}" for name in ("rope", "twine", "pole", "net"))


@pytest.fixture
def book(workshop: Path) -> RecipeBook:
    return load_book(workshop)


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        ("get 2 old wood", "Got 2 old wood"),
        ("get 0 old wood", "Got 0 old wood"),
        ("get 1 canvas", "Got 1 canvas"),
        ("get 1 hemp\nget 1 linen", "Got 1 hemp"),
        ("get 1 rope", "Could not find rope"),  # craftable
        ("get 1 cords", "Could not find cords"),  # a tag
        ("get 1 moon", "Could not find moon"),
        ("get 1 minecraft:hemp", "Could not find minecraft:hemp"),
        ("get 1  hemp", "Could not find  hemp"),
        ("get 1 hemp ", "Could not find hemp "),
        ("get 1 Hemp", "Could not find Hemp"),
        ("get hemp", "Could not execute get hemp"),
        ("Get 1 hemp", "Could not execute Get 1 hemp"),
        (" get 1 hemp", "Could not execute  get 1 hemp"),
        ("", "Could not execute "),
        ("get ١ hemp", "Could not execute get ١ hemp"),
        (f"get {'9' * 5000} hemp", f"Could not execute get {'9' * 5000} hemp"),
        ("inventory", "Inventory: [rope] (2) [twine] (2) [pole] (2) "),
        ("inventory please", "Inventory: [rope] (2) [twine] (2) [pole] (2) "),
        ("craft 1 net using 2 rope", "Crafted 1 minecraft:net"),
        ("craft net using 2 twine", "Crafted 1 minecraft:net"),
        ("craft 7 net using  2 twine ", "Crafted 1 minecraft:net"),
        ("craft 1 ladder using 2 pole, 1 rope", "Crafted 1 minecraft:ladder"),
        ("craft 1 ladder using 1 rope,2 pole", "Crafted 1 minecraft:ladder"),
        ("craft 1 net using rope", "Wrong item format: rope"),
        ("craft 1 net using 1 rope, ", "Wrong item format: "),
        ("craft 1 moon using one sun", "Wrong item format: one sun"),
        ("craft 1 moon using 3 rope", "Could not find enough items to craft minecraft:moon"),
        ("craft 1 net using 2 cords", "Could not find enough items to craft minecraft:net"),
        ("craft 1 cords using 9 hemp", "Could not find enough items to craft None"),
        (
            "craft 3 moon using 1 rope",
            "Could not find a valid recipe for "
            "ItemTagWithCount(item_tag=ItemTag(tag=None, item_id='minecraft:moon'), count=3)",
        ),
        (
            "craft moon using 1 rope",
            "Could not find a valid recipe for "
            "ItemTagWithCount(item_tag=ItemTag(tag=None, item_id='minecraft:moon'), count=1)",
        ),
        (
            "craft 1 cords using 1 rope",
            "Could not find a valid recipe for "
            "ItemTagWithCount(item_tag=ItemTag(tag='minecraft:cords', item_id=None), count=1)",
        ),
    ],
)
def test_the_world_answers_in_the_originals_words(book: RecipeBook, action: str, answer: str) -> None:
    assert execute(book, {ROPE: 2, TWINE: 2, POLE: 2}, action).observation == answer


@pytest.mark.parametrize("used", ["1 rope", "1 rope, 1 twine", "1 rope, 1 rope", "2 rope, 1 pole", "2 pole"])
def test_ingredients_and_counts_must_be_exactly_those_of_one_recipe(book: RecipeBook, used: str) -> None:
    held = {ROPE: 2, TWINE: 2, POLE: 2}
    outcome = execute(book, held, f"craft 1 net using {used}")
    assert outcome.observation.startswith("Could not find a valid recipe")
    assert outcome.inventory == held


def test_an_empty_inventory_says_so(book: RecipeBook) -> None:
    assert execute(book, {}, "inventory").observation == "Inventory: You are not carrying anything."


def test_a_used_up_item_leaves_the_inventory_and_comes_back_at_its_end(book: RecipeBook) -> None:
    held = execute(book, {ROPE: 2, POLE: 1}, "craft net using 2 rope").inventory
    assert list(held.items()) == [(POLE, 1), (NET, 1)]


def test_an_entry_of_amount_nought_is_listed_but_makes_no_other_state(book: RecipeBook) -> None:
    held = execute(book, {}, "get 0 hemp").inventory
    assert execute(book, held, "inventory").observation == "Inventory: [hemp] (0) "
    assert state_text(held) == state_text({}) == "nothing"


def test_a_refused_command_leaves_the_inventory_given_untouched(book: RecipeBook) -> None:
    held = {ROPE: 2}
    execute(book, held, "craft net using 2 rope")
    assert held == {ROPE: 2}


def test_an_item_offered_twice_must_suffice_for_both(recipe_folder) -> None:
    kind = "minecraft:crafting_shapeless"
    twin = {"type": kind, "ingredients": [{"tag": "minecraft:cords"}, {"item": ROPE}], "result": "minecraft:twin"}
    rope = {"type": kind, "group": "cords", "ingredients": [{"item": "minecraft:hemp"}], "result": ROPE}
    book = load_book(recipe_folder(twin=twin, rope=rope))
    action = "craft 1 twin using 1 rope, 1 rope"
    assert execute(book, {ROPE: 1}, action).observation == "Could not find enough items to craft minecraft:twin"
    assert execute(book, {ROPE: 2}, action).inventory == {"minecraft:twin": 1}


def test_the_state_text_sorts_what_is_held() -> None:
    assert state_text({TWINE: 1, "minecraft:old_wood": 3}) == "[old wood] (3) [twine] (1)"


@pytest.mark.parametrize("action", ["get 1 moon", "inventory", "craft moon using 1 sun, 2 stars", "craft a using 1 b"])
def test_a_well_formed_line_is_a_command_even_if_the_world_refuses_it(action: str) -> None:
    assert is_command(action)


@pytest.mark.parametrize("action", ["", "get", "get one hemp", "craft a", "craft a using b", "Inventory", "think: hm"])
def test_a_line_outside_the_grammar_is_no_command(action: str) -> None:
    assert not is_command(action)


@given(
    st.lists(
        st.one_of(
            st.text(),
            st.builds("get {} {}".format, st.integers(0, 3), st.sampled_from(["copper", "wax", "tin", "cords"])),
            st.sampled_from(
                [f"craft {name}" for name in ("copper ring using 1 copper", "copper cup using 2 copper, 1 wax")]
            ),
        ),
        max_size=20,
    )
)
def test_no_line_crashes_the_world_or_makes_an_amount_negative(actions: list[str]) -> None:
    book, held = load_book(OWN_RECIPES), {}
    for action in actions:
        held = execute(book, held, action).inventory
        assert all(amount >= 0 for amount in held.values())
