"""The expert: a short plan that crafts a goal from what the inventory already holds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from envs.textcraft.book import RecipeBook
from envs.textcraft.commands import Inventory
from envs.textcraft.recipe import Ingredient, Recipe, spoken


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """First fetch, then craft."""

    fetch: Mapping[str, int]
    """Item id -> amount to fetch."""

    crafts: tuple[str, ...]
    """The crafting commands, in order."""

    made: tuple[str, ...]
    """The id of the item that each of them makes."""

    stock: Inventory
    """What is held and not yet reserved for one of the crafts."""

    @property
    def length(self) -> int:
        """The number of actions: one `get` per item, whatever the amount, and one line per craft."""
        return len(self.fetch) + len(self.crafts)

    @property
    def actions(self) -> tuple[str, ...]:
        """The command lines, in order."""
        return (*(f"get {amount} {spoken(item)}" for item, amount in self.fetch.items()), *self.crafts)


def plan(book: RecipeBook, goal: str, inventory: Inventory) -> Plan:
    """A plan whose last action crafts `goal`.

    The planner is greedy: for each item it takes the recipe, and the item for each tag, that adds the fewest actions.
    The plan is short but not always the shortest: an item needed in two places is decided at the first.
    """
    start = Plan(fetch={}, crafts=(), made=(), stock={item: n for item, n in inventory.items() if item != goal})
    whole = _obtain(book, start, goal, 1, frozenset())
    if whole is None:  # cannot be: every goal has a depth, so its recipes lead down to items that can be fetched
        raise AssertionError(f"no way to craft {goal}")
    return whole


@lru_cache(maxsize=2**14)
def crafted(book: RecipeBook, goal: str) -> frozenset[str]:
    """The items that the plan from an empty inventory crafts: the intermediates and the goal."""
    return frozenset(plan(book, goal, {}).made)


def _obtain(book: RecipeBook, so_far: Plan, item: str, amount: int, above: frozenset[str]) -> Plan | None:
    """`so_far`, extended so that `amount` of an item is reserved; None if that needs an item of `above` again."""
    num_held = so_far.stock.get(item, 0)
    stock = {**so_far.stock, item: max(num_held - amount, 0)}
    reserved = replace(so_far, stock=stock)
    missing = amount - num_held
    if missing <= 0:
        return reserved
    if book.can_fetch(item):
        fetch = {**reserved.fetch, item: reserved.fetch.get(item, 0) + missing}
        return replace(reserved, fetch=fetch)
    if item in above:
        return None
    ways = (_make(book, reserved, recipe, missing, above | {item}) for recipe in book.recipes.get(item, ()))
    return _shortest(ways)


def _make(book: RecipeBook, so_far: Plan, recipe: Recipe, amount: int, above: frozenset[str]) -> Plan | None:
    """`so_far`, extended by the crafts of one recipe that make at least `amount`; the rest goes to the stock."""
    times = -(-amount // recipe.count)
    # Each craft may use another item for a tag. Without tags all crafts need the same items and are planned as one.
    tagged = any(part.is_tag for part in recipe.ingredients)
    for batch in [1] * times if tagged else [times]:
        grown = _craft(book, so_far, recipe, batch, above)
        if grown is None:
            return None
        so_far = grown
    over = times * recipe.count - amount
    stock = {**so_far.stock, recipe.output: so_far.stock.get(recipe.output, 0) + over}
    return replace(so_far, stock=stock)


def _craft(book: RecipeBook, so_far: Plan, recipe: Recipe, times: int, above: frozenset[str]) -> Plan | None:
    ingredients: list[str] = []
    for part in recipe.ingredients:
        choices = {item: _obtain(book, so_far, item, part.count * times, above) for item in _suitable(book, part)}
        grown = _shortest(choices.values())
        if grown is None:
            return None
        chosen = next(item for item, choice in choices.items() if choice is grown)
        ingredients.append(f"{part.count} {spoken(chosen)}")
        so_far = grown
    line = f"craft {recipe.count} {spoken(recipe.output)} using {', '.join(ingredients)}"
    return replace(so_far, crafts=so_far.crafts + (line,) * times, made=so_far.made + (recipe.output,) * times)


def _suitable(book: RecipeBook, part: Ingredient) -> Iterable[str]:
    return book.members[part.name] if part.is_tag else (part.name,)


def _shortest(choices: Iterable[Plan | None]) -> Plan | None:
    """The first of the shortest plans; None if there is no plan."""
    return min((choice for choice in choices if choice is not None), key=lambda choice: choice.length, default=None)
