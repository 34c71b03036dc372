"""TextCraft solved exactly: every inventory a policy can reach, through snapshot and restore of the world itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from envs.textcraft.book import OWN_RECIPES, RecipeBook, load_book
from envs.textcraft.commands import Inventory, execute
from envs.textcraft.expert import crafted
from envs.textcraft.recipe import Recipe, spoken
from envs.textcraft.world import Snapshot, TextCraft
from trainer.config.build import ConfigError
from trainer.data.tasks import spread
from trainer.lab.worlds.tabular import Tabular
from trainer.lab.worlds.vectors import unit_vectors

ENDLESS = 10**9
"""Turns that the world itself allows, so that only the table's horizon ends an episode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CraftingConfig:
    """Goals of TextCraft and the policy that works on them."""

    name: str = "TextCraft"
    """Stands in the tables and seeds the rollouts."""

    split: str = "train_depth3"
    """The split of TextCraft that goals come from, spread over it."""

    tasks: Annotated[int, Ge(1)] = 6
    """Goals."""

    expert: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """How often the policy follows the planner; otherwise it takes any sensible action, that one too."""

    horizon: Annotated[int, Ge(2)] = 12
    """Turns until an episode ends unsolved."""

    max_states: Annotated[int, Ge(1)] = 2000
    """A goal with more inventories than this is passed over."""

    noise: Annotated[float, Ge(0)] = 0.2
    """Length of the random vector that each visit adds to an inventory's unit vector."""

    seed: int = 0
    """Seeds the vectors."""

    order: int | None = None
    """Seeds the order in which goals are taken from the split; None spreads them over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    """Every inventory that can be reached on the way to one goal, the start first."""

    actions: tuple[tuple[str, ...], ...]
    """The actions in each inventory, the planner's first."""

    reached: tuple[tuple[int | None, ...], ...]
    """Where each action leads: an index into the graph, or None for success."""

    names: tuple[str, ...]
    """What is held in each inventory, in words."""

    milestones: tuple[tuple[int, ...], ...]
    """The milestone, from 1, that each action reaches: an item of the plan that it crafts; 0 for none."""


def crafting(config: CraftingConfig) -> Tabular:
    """TextCraft as a table, solved.

    Raises EnvError for a split that TextCraft does not have, ConfigError where its goals are too large to be solved.
    """
    world, book = TextCraft(max_steps=ENDLESS, distractors=0), load_book(OWN_RECIPES)
    goals = _goals(world.tasks(config.split), config)
    explored = (explore(world, book, goal, config) for goal in goals)
    small = (graph for graph in explored if graph is not None)
    graphs = [graph for _, graph in zip(range(config.tasks), small, strict=False)]
    if len(graphs) < config.tasks:
        raise ConfigError(
            f"{config.name}: {len(graphs)} goals of {config.split!r} have at most max_states={config.max_states} "
            f"inventories, tasks={config.tasks} are asked for: raise max_states or lower tasks"
        )
    return _table(config, graphs)


def _goals(split: Sequence[str], config: CraftingConfig) -> Sequence[str]:
    """The goals to try, more than are asked for, since some are too large."""
    if config.order is None:
        return spread(split, 4 * config.tasks)
    order: list[int] = np.random.default_rng(config.order).permutation(len(split)).tolist()
    return [split[place] for place in order[: 4 * config.tasks]]


def explore(world: TextCraft, book: RecipeBook, goal: str, config: CraftingConfig) -> _Graph | None:
    """The goal's whole graph, whatever the horizon; None where it has more than `max_states` inventories."""
    tree = book.tree(goal)
    world.reset(goal)
    snapshots: list[Snapshot] = [world.snapshot()]
    index = {snapshots[0].last.state_key: 0}
    actions: list[tuple[str, ...]] = []
    successors: list[tuple[int | None, ...]] = []
    milestones: list[tuple[int, ...]] = []
    number = {item: code for code, item in enumerate(sorted(crafted(book, goal)), start=1)}
    for snapshot in snapshots:  # grows inside the loop
        world.restore(snapshot)
        planned = next(world.expert())
        choices = tuple(dict.fromkeys((planned, *sensible(book, tree, snapshot.inventory))))
        leads: list[int | None] = []
        for action in choices:
            world.restore(snapshot)
            step = world.step(action)
            if step.ending is None and step.state_key not in index:
                index[step.state_key] = len(snapshots)
                snapshots.append(world.snapshot())
            leads.append(None if step.ending is not None else index[step.state_key])
        actions.append(choices)
        successors.append(tuple(leads))
        products = (execute(book, snapshot.inventory, action).crafted for action in choices)
        milestones.append(tuple(number.get(item or "", 0) for item in products))
        if len(snapshots) > config.max_states:
            return None
    return _Graph(actions=tuple(actions), reached=tuple(successors), names=tuple(index), milestones=tuple(milestones))


def sensible(book: RecipeBook, tree: Sequence[Recipe], held: Inventory) -> Iterator[str]:
    """Actions of a policy that understands the rules: fetch what is missing, craft what is lacking, look."""
    for recipe in tree:
        ingredients: list[str] = []
        for part in recipe.ingredients:
            choices = book.members[part.name] if part.is_tag else (part.name,)
            item = next((item for item in choices if held.get(item, 0) >= part.count), None)
            if item is not None:
                ingredients.append(f"{part.count} {spoken(item)}")
            elif book.can_fetch(part.name) and not held.get(part.name, 0):
                yield f"get {part.count} {spoken(part.name)}"
        if len(ingredients) == len(recipe.ingredients) and held.get(recipe.output, 0) < recipe.count:
            yield f"craft {recipe.count} {spoken(recipe.output)} using {', '.join(ingredients)}"
    yield "inventory"


def _table(config: CraftingConfig, graphs: Sequence[_Graph]) -> Tabular:
    """The goals' graphs as one table, one after another; slots that a state does not use lead to failure."""
    sizes = [len(graph.actions) for graph in graphs]
    states, slots = sum(sizes), max(len(choices) for graph in graphs for choices in graph.actions)
    successor = np.full((states, slots, 1), states + 1)
    policy, keys = np.zeros((states, slots)), np.zeros((states, slots), np.int64)
    milestones = np.zeros((states, slots), np.int64)
    code: dict[str, int] = {}
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    for start, graph in zip(starts.tolist(), graphs, strict=True):
        table = zip(graph.actions, graph.reached, graph.milestones, strict=True)
        for state, (choices, leads, gained) in enumerate(table, start=start):
            for slot, (action, lead) in enumerate(zip(choices, leads, strict=True)):
                successor[state, slot] = states if lead is None else start + lead
                keys[state, slot] = code.setdefault(action, len(code))
            milestones[state, : len(choices)] = gained
            policy[state, : len(choices)] = (1.0 - config.expert) / len(choices)
            policy[state, 0] += config.expert
    return Tabular(
        name=config.name,
        successor=successor,
        chance=np.ones((states, slots, 1)),
        policy=policy,
        keys=keys,
        starts=starts,
        horizon=config.horizon,
        vectors=unit_vectors(states, np.random.default_rng(config.seed)),
        noise=config.noise,
        milestones=milestones,
        names=tuple(name for graph in graphs for name in graph.names),
        acts=tuple(code),
    )
