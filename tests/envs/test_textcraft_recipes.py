"""Reading recipe files: the original's rules, and one clear line for each way a file can be broken."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs import EnvError
from envs.textcraft.book import load_book
from envs.textcraft.recipe import Ingredient

Folder = Callable[..., Path]
A, B, C = ({"item": f"minecraft:{name}"} for name in ("a", "b", "c"))


def shapeless(result: Any, *ingredients: Any, **more: Any) -> dict[str, Any]:
    return {"type": "minecraft:crafting_shapeless", "ingredients": list(ingredients), "result": result, **more}


def shaped(result: Any, pattern: Any, key: Any) -> dict[str, Any]:
    return {"type": "minecraft:crafting_shaped", "pattern": pattern, "key": key, "result": result}


def test_shaped_counts_are_those_of_the_pattern_in_the_order_of_the_key(recipe_folder: Folder) -> None:
    book = load_book(recipe_folder(c=shaped({"item": "minecraft:c", "count": 2}, ["#X#", " X "], {"X": A, "#": B})))
    (recipe,) = book.recipes["minecraft:c"]
    assert recipe.text == "craft 2 c using 2 a, 2 b"


def test_shapeless_counts_add_up_and_a_list_ingredient_takes_its_first_entry(recipe_folder: Folder) -> None:
    book = load_book(recipe_folder(c=shapeless({"item": "minecraft:c"}, A, [B, C], A)))
    (recipe,) = book.recipes["minecraft:c"]
    assert recipe.ingredients == (
        Ingredient(name="minecraft:a", count=2),
        Ingredient(name="minecraft:b", count=1),
    )
    assert recipe.count == 1


def test_other_kinds_of_recipe_are_passed_over(workshop: Path) -> None:
    assert "minecraft:ash" not in load_book(workshop).items


def test_a_recipe_that_only_unpacks_a_block_is_left_out_but_its_output_can_be_fetched(recipe_folder: Folder) -> None:
    unpack = shapeless({"item": "minecraft:jade", "count": 9}, {"item": "minecraft:jade_block"})
    book = load_book(recipe_folder(jade=unpack, c=shapeless({"item": "minecraft:c"}, A)))
    assert book.goals == ("minecraft:c",)
    assert book.can_fetch("minecraft:jade")


def test_two_recipes_that_undo_each_other_leave_the_one_whose_file_name_is_later(recipe_folder: Folder) -> None:
    there = shapeless({"item": "minecraft:a"}, B, C)
    back = shapeless({"item": "minecraft:b"}, A, C)
    assert load_book(recipe_folder(x=there, y=back)).goals == ("minecraft:b",)


def test_group_is_a_tag_unless_it_is_the_output_itself(workshop: Path) -> None:
    book = load_book(workshop)
    assert book.tag_of == {"minecraft:twine": "minecraft:cords", "minecraft:rope": "minecraft:cords"}
    assert book.members["minecraft:cords"] == ("minecraft:twine", "minecraft:rope")
    assert book.tags == {"minecraft:cords"}


def test_a_tag_that_nothing_craftable_carries_is_a_plain_item(workshop: Path) -> None:
    book = load_book(workshop)
    assert book.can_fetch("minecraft:canvas")
    assert not book.can_fetch("minecraft:cords")


def test_depth_is_one_more_than_the_deepest_ingredient_by_the_shallowest_recipe(recipe_folder: Folder) -> None:
    book = load_book(
        recipe_folder(
            a=shapeless({"item": "minecraft:a"}, C),
            b=shapeless({"item": "minecraft:b"}, A, C),
            deep=shapeless({"item": "minecraft:d"}, B),
            shallow=shapeless({"item": "minecraft:d"}, C, C),
        )
    )
    assert [book.depth[f"minecraft:{name}"] for name in "abd"] == [1, 2, 1]


def test_a_circle_through_a_tag_is_refused(recipe_folder: Folder) -> None:
    folder = recipe_folder(
        a=shapeless({"item": "minecraft:a"}, B, group="things"),
        b=shapeless({"item": "minecraft:b"}, {"tag": "minecraft:things"}),
    )
    with pytest.raises(EnvError, match="'minecraft:a' can only be made from itself; remove a recipe"):
        load_book(folder)


def test_a_folder_is_read_once_and_may_hold_its_files_in_recipes(recipe_folder: Folder, workshop: Path) -> None:
    outside = workshop.parent / f"{workshop.name}-outside"
    outside.mkdir()
    (outside / "recipes").symlink_to(workshop)
    assert load_book(outside).goals == load_book(workshop).goals
    assert load_book(outside) is load_book(outside)


def test_a_folder_without_recipes_is_refused(tmp_path: Path, recipe_folder: Folder) -> None:
    with pytest.raises(EnvError, match="missing: not a folder; give textcraft recipes=FOLDER"):
        load_book(tmp_path / "missing")
    with pytest.raises(EnvError, match="holds no recipe files"):
        load_book(tmp_path)
    with pytest.raises(EnvError, match="no file holds a crafting recipe"):
        load_book(recipe_folder(x={"type": "minecraft:smelting"}))


GOOD = {"item": "minecraft:c"}


@pytest.mark.parametrize(
    ("details", "wrong"),
    [
        ("{", "not a readable JSON file"),
        ([], "the file must be a JSON object, not list"),
        ({}, "'type' must be a text such as 'minecraft:crafting_shaped', not None"),
        (shaped(GOOD, "X", {"X": A}), "'pattern' must be a list of texts, not 'X'"),
        (shaped(GOOD, ["X", 1], {"X": A}), "'pattern' must be a list of texts"),
        (shaped(GOOD, [], {"X": A}), "'pattern' must be a list of texts"),
        (shaped(GOOD, ["X"], [A]), "'key' must be a JSON object, not list"),
        (shaped(GOOD, ["XY"], {"X": A}), "'pattern' uses 'Y', which 'key' does not explain"),
        (shaped(GOOD, ["X"], {"X": A, "Y": B}), "'key' explains 'Y', which 'pattern' does not use"),
        (shaped(GOOD, ["XY"], {"XY": A, "X": A, "Y": B}), "'key' explains 'XY', which 'pattern' does not use"),
        (shaped(GOOD, [" "], {}), "it has no ingredients"),
        (shapeless(GOOD), r"'ingredients' must be a list that is not empty, not \[\]"),
        (shapeless(GOOD, "minecraft:a"), "an ingredient must name an 'item' or a 'tag', not 'minecraft:a'"),
        (shapeless(GOOD, []), r"an ingredient must name an 'item' or a 'tag', not \[\]"),
        (shapeless(GOOD, {"item": "a"}), "'a' is not an id such as 'minecraft:oak_planks'"),
        (shapeless(GOOD, {"item": 1}), "1 is not an id such as"),
        (shapeless(None, A), "'result' must name an 'item', not None"),
        (shapeless({"id": "minecraft:c"}, A), "'result' must name an 'item'"),
        (shapeless({"item": "minecraft:c", "count": 0}, A), "'result.count' must be a whole number above 0, not 0"),
        (
            shapeless({"item": "minecraft:c", "count": True}, A),
            "'result.count' must be a whole number above 0, not True",
        ),
        (shapeless({"item": "other:c"}, A), "'other:c' is not an id such as"),
        (shapeless(GOOD, A, group=["x"]), r"'group' must be a text, not \['x'\]"),
        (shapeless(GOOD, A, group="My Group"), "'minecraft:My Group' is not an id"),
    ],
)
def test_a_broken_file_is_refused_in_one_line_with_path_and_remedy(
    recipe_folder: Folder, details: Any, wrong: str
) -> None:
    folder = recipe_folder(good=shapeless(GOOD, A), broken=details)
    with pytest.raises(EnvError, match=wrong) as refusal:
        load_book(folder)
    message = str(refusal.value)
    assert message.startswith(f"{folder / 'broken.json'}: ")
    assert message.endswith("; repair or remove the file")
    assert "\n" not in message
