"""The recipes of one folder, loaded once per process and shared by every episode."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from envs.base import EnvError
from envs.textcraft.recipe import Ingredient, Recipe, read_recipe

OWN_RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # one object a folder: compared and hashed as such
class RecipeBook:
    """What can be crafted, from what, and in how many levels (ADaPT 2311.05772)."""

    source: Path
    """The folder of the recipe files."""

    recipes: Mapping[str, Sequence[Recipe]]
    """Item id -> the recipes that make it. Items and recipes are in the order of the files."""

    tag_recipes: Mapping[str, Sequence[Recipe]]
    """Tag -> the recipes whose output has it."""

    tag_of: Mapping[str, str]
    """Item id -> its tag."""

    tags: frozenset[str]
    """Every name that is only a tag."""

    items: frozenset[str]
    """Every item id."""

    depth: Mapping[str, int]
    """Item id or tag -> crafting levels. What no recipe makes is not in here and counts as 0.

    depth = min over recipes of max over ingredients of (depth of the ingredient + 1)
    """

    uses: Mapping[str, Sequence[Recipe]]
    """Item id or tag -> the recipes that need it. Recipes with a tag count twice, as in the original's distractors."""

    members: Mapping[str, Sequence[str]]
    """Tag -> the items that have it."""

    @property
    def goals(self) -> tuple[str, ...]:
        """Everything that can be crafted, in the order of the files."""
        return tuple(self.recipes)

    def makers(self, name: str) -> Sequence[Recipe]:
        """The recipes that make an item, or any item with this tag; empty for what can only be fetched."""
        return self.recipes.get(name) or self.tag_recipes.get(name) or ()

    def can_fetch(self, item: str) -> bool:
        """Whether `get` finds the item: it exists, is no tag, and no recipe makes it."""
        return item in self.items and not self.makers(item) and item not in self.tags

    def tree(self, goal: str) -> tuple[Recipe, ...]:
        """Every recipe that can help with a goal: its own recipes, those of their ingredients, and so on."""
        names = {goal: None}
        queue = [goal]
        for name in queue:
            fresh = [part.name for recipe in self.makers(name) for part in recipe.ingredients]
            queue += [part for part in dict.fromkeys(fresh) if part not in names]
            names.update(dict.fromkeys(fresh))
        return tuple(recipe for name in names for recipe in self.makers(name))


@cache
def load_book(folder: Path) -> RecipeBook:
    """The book of a folder of recipe files (or of its subfolder `recipes`).

    Raises EnvError, one line with path and remedy, for a folder without crafting recipes and for a broken file.
    """
    # The cycle rule below depends on the order of the files; this one gives the papers' 544 items and test tasks.
    paths = sorted(_recipe_files(folder), key=lambda path: path.name, reverse=True)
    read = [recipe for recipe in map(read_recipe, paths) if recipe is not None]
    if not read:
        raise EnvError(f"{folder}: no file holds a crafting recipe (type 'minecraft:crafting_shaped' or "
                       "'minecraft:crafting_shapeless'); choose another folder")  # fmt: skip
    return _book(folder, read)


def _recipe_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise EnvError(f"{folder}: not a folder; give textcraft recipes=FOLDER with recipe files (*.json)")
    files = list(folder.glob("*.json")) or list((folder / "recipes").glob("*.json"))
    if not files:
        raise EnvError(f"{folder}: holds no recipe files (*.json); give textcraft the folder that does")
    return files


def _book(source: Path, read: Sequence[Recipe]) -> RecipeBook:
    tags = {part.name for recipe in read for part in recipe.ingredients if part.is_tag}
    items = {part.name for recipe in read for part in recipe.ingredients if not part.is_tag}
    items |= {recipe.output for recipe in read}
    kept = [recipe for recipe in read if not recipe.is_unpacking]
    # A group may have the name of its item. It is no tag then, but the recipe still makes that name.
    tag_of = {recipe.output: recipe.tag for recipe in kept if recipe.tag is not None and recipe.tag != recipe.output}
    tags |= set(tag_of.values())
    kept = _without_cycles(kept)
    craftable = {recipe.output for recipe in kept}
    idle = _idle_tags(kept, {tag for item, tag in tag_of.items() if item in craftable})
    kept = [_with_items(recipe, idle) for recipe in kept]
    recipes = _by(kept, lambda recipe: [recipe.output])
    tag_recipes = _by(kept, lambda recipe: [recipe.tag] if recipe.tag is not None else [])
    return RecipeBook(
        source=source,
        recipes=recipes,
        tag_recipes=tag_recipes,
        tag_of=tag_of,
        tags=frozenset(tags - idle),
        items=frozenset(items | idle),
        depth=_depths(source, recipes, tag_recipes),
        uses=_by(
            [*kept, *(recipe for recipe in kept if recipe.tag)],
            lambda recipe: [part.name for part in recipe.ingredients],
        ),
        members=_members(tag_of),
    )


def _without_cycles(read: Iterable[Recipe]) -> list[Recipe]:
    """Drop each recipe whose output an earlier recipe already needs, directly or not, for one of its ingredients."""
    needs: dict[str, set[str]] = {}
    kept: list[Recipe] = []
    for recipe in read:
        below = needs.setdefault(recipe.output, set())
        if any(recipe.output in needs.get(part.name, ()) for part in recipe.ingredients):
            continue
        kept.append(recipe)
        for part in recipe.ingredients:
            below |= {part.name} | needs.get(part.name, set())
    return kept


def _idle_tags(kept: Iterable[Recipe], live: set[str]) -> set[str]:
    """Ingredient tags that no craftable item has: the original turns them into plain items."""
    return {part.name for recipe in kept for part in recipe.ingredients if part.is_tag} - live


def _with_items(recipe: Recipe, idle: set[str]) -> Recipe:
    def as_item(part: Ingredient) -> Ingredient:
        return replace(part, is_tag=False) if part.name in idle else part

    return replace(recipe, ingredients=tuple(as_item(part) for part in recipe.ingredients))


def _by(kept: Iterable[Recipe], names: Callable[[Recipe], Iterable[str]]) -> dict[str, tuple[Recipe, ...]]:
    index: dict[str, list[Recipe]] = {}
    for recipe in kept:
        for name in dict.fromkeys(names(recipe)):
            index.setdefault(name, []).append(recipe)
    return {name: tuple(users) for name, users in index.items()}


def _members(tag_of: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {tag: tuple(item for item, own in tag_of.items() if own == tag) for tag in sorted(set(tag_of.values()))}


def _depths(
    source: Path, recipes: Mapping[str, Sequence[Recipe]], tag_recipes: Mapping[str, Sequence[Recipe]]
) -> dict[str, int]:
    """The least solution, found level by level, of

    depth = min over recipes of max over ingredients of (depth of the ingredient + 1)

    Raises EnvError if items can only be made from one another: the cycle rule does not look through tags.
    """
    makers = {**tag_recipes, **recipes}
    waiting = set(makers)
    depth: dict[str, int] = {}
    for level in range(1, len(makers) + 1):
        # What becomes possible at this level needs something of the level before, so the level is its depth.
        possible = {name for name in waiting if any(_is_ready(way, waiting) for way in makers[name])}
        depth |= dict.fromkeys(possible, level)
        waiting -= possible
    if stuck := sorted(waiting & set(recipes)):
        raise EnvError(f"{source}: {stuck[0]!r} can only be made from itself; remove a recipe of the circle")
    return depth


def _is_ready(recipe: Recipe, waiting: set[str]) -> bool:
    return not any(part.name in waiting for part in recipe.ingredients)
