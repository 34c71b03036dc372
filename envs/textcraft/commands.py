"""The command language: what a line means, and what it does to an inventory.

Texts and the order of the checks equal the original's (AgentGym's textcraft, ADaPT 2311.05772) at every turn.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from envs.textcraft.book import RecipeBook
from envs.textcraft.recipe import Ingredient, Recipe, item_id, spoken

# The original matches these at the start of the line only: "inventory please" is understood.
_CRAFT = re.compile(r"craft (.*) using (.*)")
_GET = re.compile(r"get ([0-9]+) (.*)")
_INVENTORY = re.compile(r"inventory")
_COUNTED = re.compile(r"([0-9]+) (.*)")
# Python refuses to read or print numbers of more than 4,300 digits; the original crashes on them.
_ENDLESS = re.compile(r"[0-9]{1001}")

Inventory = Mapping[str, int]  # item id -> amount, in the order of acquisition


@dataclass(frozen=True, slots=True)
class Get:
    """`get AMOUNT WORDS`."""

    amount: int
    words: str


@dataclass(frozen=True, slots=True)
class Craft:
    """`craft [COUNT] WORDS using AMOUNT WORDS, ...`; the typed count only shows in an error text."""

    count: int
    words: str
    inputs: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Look:
    """`inventory`."""


@dataclass(frozen=True, slots=True)
class Misread:
    """A line that is no command."""

    answer: str
    """The world's reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a command."""

    observation: str
    """The world's reply."""

    inventory: Inventory
    """What the agent holds after the command."""

    crafted: str | None = None
    """The id of the item made; None if none was."""


def parse(action: str) -> Get | Craft | Look | Misread:
    """Parse a line as the original does. Never raises: a line that is no command becomes a `Misread`."""
    if _ENDLESS.search(action):
        return Misread(f"Could not execute {action}")
    if craft := _CRAFT.match(action):
        return _parse_craft(craft[1], craft[2])
    if get := _GET.match(action):
        return Get(int(get[1]), get[2])
    if _INVENTORY.match(action):
        return Look()
    return Misread(f"Could not execute {action}")


def is_command(action: str) -> bool:
    """Whether a line has the form of a command, whatever the world replies."""
    return not isinstance(parse(action), Misread)


def _parse_craft(output: str, used: str) -> Craft | Misread:
    inputs: list[tuple[int, str]] = []
    for entry in used.split(","):
        match = _COUNTED.match(entry.strip())
        if match is None:
            return Misread(f"Wrong item format: {entry.strip()}")
        inputs.append((int(match[1]), match[2]))
    match = _COUNTED.match(output)
    count, words = (int(match[1]), match[2]) if match else (1, output)
    return Craft(count, words, tuple(inputs))


def execute(book: RecipeBook, inventory: Inventory, action: str) -> Outcome:
    """Execute a line. The argument `inventory` is not modified; a command that fails returns it unchanged."""
    match parse(action):
        case Get() as get:
            return _get(book, inventory, get)
        case Craft() as craft:
            return _craft(book, inventory, craft)
        case Look():
            return Outcome(observation=_inventory_text(inventory), inventory=inventory)
        case Misread(answer):
            return Outcome(observation=answer, inventory=inventory)


def state_text(inventory: Inventory) -> str:
    """The inventory in sorted order: "[oak log] (1) [stick] (2)", or "nothing" if it is empty.

    Entries of amount 0, which `get 0 stick` leaves, are omitted: they do not change what can be done.
    """
    entries = sorted((spoken(item), amount) for item, amount in inventory.items() if amount)
    return " ".join(f"[{name}] ({amount})" for name, amount in entries) or "nothing"


def _inventory_text(inventory: Inventory) -> str:
    entries = "".join(f"[{spoken(item)}] ({amount}) " for item, amount in inventory.items())
    return "Inventory: " + (entries or "You are not carrying anything.")


def _get(book: RecipeBook, inventory: Inventory, get: Get) -> Outcome:
    item = item_id(get.words)
    if not book.can_fetch(item):
        return Outcome(observation=f"Could not find {get.words}", inventory=inventory)
    stock = {**inventory, item: inventory.get(item, 0) + get.amount}
    return Outcome(observation=f"Got {get.amount} {get.words}", inventory=stock)


def _craft(book: RecipeBook, inventory: Inventory, craft: Craft) -> Outcome:
    name = item_id(craft.words)
    output, tag = (None, name) if name in book.tags else (name, None)
    inputs = [(item_id(words), amount) for amount, words in craft.inputs]
    scarce = Outcome(observation=f"Could not find enough items to craft {output}", inventory=inventory)
    if any(item in book.tags or item not in inventory or inventory[item] < amount for item, amount in inputs):
        return scarce
    recipe = next((recipe for recipe in book.recipes.get(output or "", ()) if _fits(book, recipe, inputs)), None)
    if recipe is None:
        target = f"ItemTagWithCount(item_tag=ItemTag(tag={tag!r}, item_id={output!r}), count={craft.count})"
        return Outcome(observation=f"Could not find a valid recipe for {target}", inventory=inventory)
    stock = _spend(inventory, inputs)
    if stock is None:
        return scarce
    stock[recipe.output] = stock.get(recipe.output, 0) + recipe.count
    return Outcome(observation=f"Crafted {recipe.count} {recipe.output}", inventory=stock, crafted=recipe.output)


def _fits(book: RecipeBook, recipe: Recipe, inputs: list[tuple[str, int]]) -> bool:
    """Whether the inputs are exactly the ingredients; each ingredient takes the first input that suits it."""
    left = list(inputs)
    for part in recipe.ingredients:
        first = next((entry for entry in left if _suits(book, part, entry[0])), None)
        if first is None or first[1] != part.count:
            return False
        left.remove(first)
    return not left


def _suits(book: RecipeBook, part: Ingredient, item: str) -> bool:
    return book.tag_of.get(item) == part.name if part.is_tag else item == part.name


def _spend(inventory: Inventory, inputs: list[tuple[str, int]]) -> dict[str, int] | None:
    """What is left after the inputs are spent; None if an item is named twice and there is not enough for both.

    We differ: the original checks each input alone, so it crashes there or continues with a negative amount.
    """
    stock = dict(inventory)
    for item, amount in inputs:
        stock[item] -= amount
    if any(stock[item] < 0 for item, _ in inputs):
        return None
    return {item: amount for item, amount in stock.items() if amount or inventory[item] == 0}
