"""One recipe, and how to read it from a file in the original's format."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from envs.base import EnvError

NAMESPACE = "minecraft:"
# Commands name items without the namespace and separate them by commas, so they cannot name any other id.
_ID = re.compile(re.escape(NAMESPACE) + r"[a-z0-9_./-]+")


def spoken(name: str) -> str:
    """How observations name an item or a tag: "minecraft:oak_planks" -> "oak planks"."""
    return name.replace(NAMESPACE, "").replace("_", " ")


def item_id(words: str) -> str:
    """The id that typed words stand for: "oak planks" -> "minecraft:oak_planks"."""
    return NAMESPACE + words.replace(" ", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """One kind of thing that a recipe needs."""

    name: str
    """An item id, or a tag."""

    count: int
    """How many are needed, all of the same item."""

    is_tag: bool = False
    """Whether `name` is a tag, so that any one item with that tag will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to craft one item.

    >>> Recipe(output="minecraft:rope", count=2, ingredients=(Ingredient(name="minecraft:hemp", count=3),)).text
    'craft 2 rope using 3 hemp'
    """

    output: str
    """The id of the item that is made."""

    count: int
    """How many of it one crafting makes."""

    ingredients: tuple[Ingredient, ...]
    """What one crafting uses up."""

    tag: str | None = None
    """The tag of the output; None if it has none."""

    @property
    def text(self) -> str:
        """The command that executes the recipe, as the first observation lists it."""
        parts = ", ".join(f"{part.count} {spoken(part.name)}" for part in self.ingredients)
        return f"craft {self.count} {spoken(self.output)} using {parts}"

    @property
    def is_unpacking(self) -> bool:
        """Whether the recipe only takes a storage block apart; the original omits these recipes."""
        return len(self.ingredients) == 1 and self.ingredients[0].name.endswith("_block")


def read_recipe(path: Path) -> Recipe | None:
    """The crafting recipe in a file; None for another kind of recipe (smelting, stonecutting, ...).

    Raises EnvError, with the path and the remedy, for a broken file.
    """
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EnvError(f"{path}: not a readable JSON file ({error}); repair or remove the file") from error
    try:
        return _recipe(_mapping(content, "the file"))
    except _BrokenError as broken:
        raise EnvError(f"{path}: {broken}; repair or remove the file") from broken


class _BrokenError(ValueError):
    """What is wrong with a recipe; `read_recipe` adds the path and the remedy."""


def _recipe(details: Mapping[str, Any]) -> Recipe | None:
    match details.get("type"):
        case "minecraft:crafting_shaped":
            ingredients = _shaped(details)
        case "minecraft:crafting_shapeless":
            ingredients = _shapeless(details)
        case str():
            return None
        case kind:
            raise _BrokenError(f"'type' must be a text such as 'minecraft:crafting_shaped', not {kind!r}")
    output, count = _result(details.get("result"))
    group = details.get("group")
    if group is not None and not isinstance(group, str):
        raise _BrokenError(f"'group' must be a text, not {group!r}")
    tag = None if group is None else _checked_id(NAMESPACE + group)
    return Recipe(output=output, count=count, ingredients=ingredients, tag=tag)


def _shaped(details: Mapping[str, Any]) -> tuple[Ingredient, ...]:
    rows = _texts(details.get("pattern"), "'pattern'")
    key = _mapping(details.get("key"), "'key'")
    pattern = "".join(rows)
    if stray := sorted(set(pattern) - set(key) - {" "}):
        raise _BrokenError(f"'pattern' uses {stray[0]!r}, which 'key' does not explain")
    if idle := [letter for letter in key if len(letter) != 1 or letter not in pattern]:
        raise _BrokenError(f"'key' explains {idle[0]!r}, which 'pattern' does not use")
    if not key:
        raise _BrokenError("it has no ingredients")
    return tuple(_ingredient(entry, pattern.count(letter)) for letter, entry in key.items())


def _shapeless(details: Mapping[str, Any]) -> tuple[Ingredient, ...]:
    entries = details.get("ingredients")
    if not isinstance(entries, list) or not entries:
        raise _BrokenError(f"'ingredients' must be a list that is not empty, not {entries!r}")
    merged: dict[str, Ingredient] = {}
    for entry in cast("list[object]", entries):
        part = _ingredient(entry, 1)
        before = merged.get(part.name)
        merged[part.name] = Ingredient(name=part.name, count=1 + (before.count if before else 0), is_tag=part.is_tag)
    return tuple(merged.values())


def _ingredient(entry: object, count: int) -> Ingredient:
    if isinstance(entry, list) and entry:  # alternatives: the original takes the first
        entry = cast("list[object]", entry)[0]
    values = cast("dict[str, object]", entry) if isinstance(entry, dict) else {}
    for kind in ("item", "tag"):
        if kind in values:
            return Ingredient(name=_checked_id(values[kind]), count=count, is_tag=kind == "tag")
    raise _BrokenError(f"an ingredient must name an 'item' or a 'tag', not {entry!r}")


def _result(result: object) -> tuple[str, int]:
    if isinstance(result, str):
        return _checked_id(result), 1
    if not isinstance(result, dict) or "item" not in result:
        raise _BrokenError(f"'result' must name an 'item', not {result!r}")
    fields = cast("dict[str, object]", result)
    count = fields.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise _BrokenError(f"'result.count' must be a whole number above 0, not {count!r}")
    return _checked_id(fields["item"]), count


def _checked_id(name: object) -> str:
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise _BrokenError(
            f"{name!r} is not an id such as 'minecraft:oak_planks' (the only namespace commands can name)"
        )
    return name


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _BrokenError(f"{what} must be a JSON object, not {type(value).__name__}")
    return cast("dict[str, Any]", value)


def _texts(value: object, what: str) -> Sequence[str]:
    rows = cast("list[object]", value) if isinstance(value, list) else []
    texts = [row for row in rows if isinstance(row, str)]
    if not texts or len(texts) != len(rows):
        raise _BrokenError(f"{what} must be a list of texts, not {value!r}")
    return texts
