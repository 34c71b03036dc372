"""TextCraft's expert: it wins from any inventory, uses what it holds, and its plans are short."""

from collections import Counter
from pathlib import Path
from statistics import mean

from hypothesis import given, settings
from hypothesis import strategies as st

from envs.textcraft import TextCraft
from envs.textcraft.book import OWN_RECIPES, RecipeBook, load_book
from envs.textcraft.expert import plan
from envs.textcraft.recipe import Recipe

OWN = load_book(OWN_RECIPES)


def fewest_actions(book: RecipeBook, goal: str) -> int | None:
    """Slow reference for books without choices (one recipe per item, no tags): adds up demands from the goal down."""
    need, actions = Counter({goal: 1}), 0
    for name in sorted(depth_order(book, goal), key=lambda name: -book.depth.get(name, 0)):
        ways = book.makers(name)
        if len(ways) > 1 or any(part.is_tag for recipe in ways for part in recipe.ingredients):
            return None
        times = -(-need[name] // ways[0].count) if ways else 1
        actions += times
        for part in ways[0].ingredients if ways else ():
            need[part.name] += part.count * times
    return actions


def depth_order(book: RecipeBook, goal: str) -> set[str]:
    return {goal} | {part.name for recipe in book.tree(goal) for part in recipe.ingredients}


def test_where_nothing_is_to_choose_no_plan_is_shorter() -> None:
    compared = [(plan(OWN, goal, {}).length, least) for goal in OWN.goals if (least := fewest_actions(OWN, goal))]
    assert len(compared) == 672
    assert all(length == least for length, least in compared)


def test_what_is_fetched_is_fetched_once_and_in_the_amount_needed() -> None:
    assert plan(OWN, "minecraft:copper_spoon", {}).actions == (
        "get 5 copper",
        "craft 1 copper plate using 3 copper",
        "craft 1 copper rod using 2 copper",
        "craft 1 copper spoon using 1 copper plate, 1 copper rod",
    )


def test_what_is_held_is_used() -> None:
    held = {"minecraft:copper_rod": 1, "minecraft:copper": 1}
    assert plan(OWN, "minecraft:copper_spoon", held).actions == (
        "get 2 copper",
        "craft 1 copper plate using 3 copper",
        "craft 1 copper spoon using 1 copper plate, 1 copper rod",
    )


def test_a_tag_is_met_by_what_is_held_else_by_what_is_nearest(workshop: Path) -> None:
    book = load_book(workshop)
    assert plan(book, "minecraft:net", {"minecraft:rope": 2}).actions == ("craft 1 net using 2 rope",)
    assert plan(book, "minecraft:net", {}).actions == (
        "get 3 hemp",  # one craft gives two ropes; two twines would take two
        "craft 2 rope using 3 hemp",
        "craft 1 net using 2 rope",
    )
    assert plan(book, "minecraft:ladder", {}).actions[:2] == ("get 1 linen", "get 4 old wood")


def test_each_action_taken_shortens_the_plan_by_one() -> None:
    env = TextCraft()
    for goal in OWN.goals:
        env.reset(goal)
        left = plan(OWN, goal, {}).length
        for action in env.expert():
            env.step(action)
            left -= 1
            if env.snapshot().last.ending is None:
                assert plan(OWN, goal, env.snapshot().inventory).length == left
        assert left == 0


def test_plans_for_the_original_game_are_no_longer_than_a_plain_planners(shared_data: Path) -> None:
    book = load_book(shared_data / "textcraft" / "recipes")
    lengths = {
        depth: [plan(book, goal, {}).length for goal in book.goals if book.depth[goal] == depth]
        for depth in (1, 2, 3, 4)
    }
    # A plain planner needs 2.2, 6.3, 13.4 and 24 actions on average, and at most 4, 28, 33 and 36.
    assert [round(mean(lengths[depth]), 1) for depth in (1, 2, 3, 4)] == [2.2, 4.9, 9.5, 17.3]
    assert [max(lengths[depth]) for depth in (1, 2, 3, 4)] == [4, 12, 23, 27]


@st.composite
def detours(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A goal, and lines that an agent might take before the expert takes over."""
    goal = draw(st.sampled_from(OWN.goals))
    tree: tuple[Recipe, ...] = OWN.tree(goal)
    plain = sorted({part.name for recipe in tree for part in recipe.ingredients if OWN.can_fetch(part.name)})
    fetch = st.builds(
        lambda item, count: f"get {count} {item.removeprefix('minecraft:')}", st.sampled_from(plain), st.integers(0, 9)
    )
    return goal, draw(st.lists(st.one_of(fetch, st.sampled_from([recipe.text for recipe in tree])), max_size=12))


@given(detours())
@settings(deadline=None)
def test_the_expert_wins_from_wherever_the_episode_stands(detour: tuple[str, list[str]]) -> None:
    goal, actions = detour
    env = TextCraft(max_steps=100)
    env.reset(goal)
    for action in actions:
        if env.step(action).ending is not None:
            return
    spare = env.snapshot().inventory
    assert plan(OWN, goal, spare).length <= plan(OWN, goal, {}).length
    for action in env.expert():
        env.step(action)
    assert env.snapshot().last.won
