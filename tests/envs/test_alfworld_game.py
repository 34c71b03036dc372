"""How a game file is read: names, goals, wording, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs import EnvError
from envs.alfworld import engine
from envs.alfworld.game import Game, Goal, load_record, read_game
from envs.alfworld.generate import make_record
from envs.alfworld.household import Households, errand

SPEC = Households(receptacles=10, objects=20)


@pytest.fixture
def record() -> dict[str, Any]:
    return make_record(SPEC, errand(SPEC, "train", 0))


def game_of(record: dict[str, Any], **changes: str) -> Game:
    """A game whose problem has words replaced: `old=new`."""
    problem = record["pddl_problem"]
    for old, new in changes.items():
        assert old in problem
        problem = problem.replace(old, new)
    return read_game({**record, "pddl_problem": problem}, source="test")


def tiny(objects: str, facts: str, goal: str) -> dict[str, Any]:
    """A hand-written household with the generated games' grammar."""
    record = make_record(SPEC, errand(SPEC, "train", 0))
    return {**record, "pddl_problem": f"(define (:objects {objects}) (:init {facts}) (:goal {goal}))"}


KITCHEN = """
(atLocation agent1 loc_bar_0)
(receptacleAtLocation Sink_bar_1_bar_SinkBasin loc_bar_1) (receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType)
(receptacleAtLocation Cabinet_bar_1 loc_bar_2) (receptacleType Cabinet_bar_1 CabinetType) (openable Cabinet_bar_1)
(receptacleAtLocation Cabinet_bar_2 loc_bar_2) (receptacleType Cabinet_bar_2 CabinetType)
(objectType Mug_bar_1 MugType) (pickupable Mug_bar_1) (inReceptacle Mug_bar_1 Cabinet_bar_1)
(objectType Mug_bar_2 MugType) (pickupable Mug_bar_2) (inReceptacle Mug_bar_2 Cabinet_bar_2)
(objectAtLocation Mug_bar_1 loc_bar_2) (objectAtLocation Mug_bar_2 loc_bar_2)
(canContain CabinetType MugType)
"""
PLACE = "(exists (?r) (and (inReceptacle ?o ?r) (objectType ?o MugType) (receptacleType ?r SinkBasinType)))"


def test_of_things_of_one_name_the_last_in_the_order_of_ids_is_number_one() -> None:
    game = read_game(tiny("", KITCHEN, PLACE), source="test")
    assert game.receptacles == ("cabinet 2", "cabinet 1", "sinkbasin 1")
    assert game.objects == ("mug 2", "mug 1")


def test_what_was_taken_from_one_of_two_neighbours_and_put_into_the_other_is_seen_beside_them() -> None:
    game = read_game(tiny("", KITCHEN, PLACE), source="test")
    state = game.start
    texts: list[str] = []
    for line in (
        "go to cabinet 1",
        "take mug 1 from cabinet 1",
        "look",
        "open cabinet 2",
        "move mug 1 to cabinet 2",
        "look",
    ):
        state, text = engine.perform(game, state, engine.commands(game, state)[line])
        texts.append(text)
    assert texts == [
        "You arrive at cabinet 1. On the cabinet 1, you see a mug 1.",
        "You pick up the mug 1 from the cabinet 1.",
        "You are facing the cabinet 2, and cabinet 1. Next to it, you see nothing.",
        "You open the cabinet 2. The cabinet 2 is open. In it, you see a mug 2.",
        "You move the mug 1 to the cabinet 2.",
        "You are facing the cabinet 2, and cabinet 1. Next to it, you see a mug 1.",
    ]


@pytest.mark.parametrize(
    ("number", "goal"),
    [
        (0, Goal(kind="{o}type", place="{r}type")),
        (1, Goal(kind="{o}type", lamp="desklamptype")),
        (2, Goal(kind="{o}type", place="{r}type", treatment="isclean")),
        (3, Goal(kind="{o}type", place="{r}type", treatment="ishot")),
        (4, Goal(kind="{o}type", place="{r}type", treatment="iscool")),
        (5, Goal(kind="{o}type", place="{r}type", count=2)),
    ],
)
def test_the_goal_of_each_task_type_is_understood(number: int, goal: Goal) -> None:
    task = errand(SPEC, "train", number)
    words = {"o": task.thing.lower(), "r": task.target.lower()}
    expected = Goal(
        kind=goal.kind.format(**words),
        count=goal.count,
        treatment=goal.treatment,
        place=goal.place and goal.place.format(**words),
        lamp=goal.lamp,
    )
    assert read_game(make_record(SPEC, task), source="test").goal == expected


def test_wording_is_taken_from_the_games_own_grammar(record: dict[str, Any]) -> None:
    older = record["grammar"].replace("move {o} to {r}", "put {o} in/on {r}")
    older = older.replace("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}.")
    older = older.replace("You arrive at {r.name}.", "You arrive at {lend.name}.")
    older = older.replace('action help { template :: "help"; feedback :: "#help.feedback#"; }', "")
    game = read_game({**tiny("", KITCHEN, PLACE), "grammar": older}, source="test")
    state = game.start
    assert "help" not in engine.commands(game, state)
    texts: list[str] = []
    for line in ("go to cabinet 1", "take mug 1 from cabinet 1", "put mug 1 in/on cabinet 1"):
        state, text = engine.perform(game, state, engine.commands(game, state)[line])
        texts.append(text)
    assert texts[0] == "You arrive at loc 1. On the cabinet 1, you see a mug 1."
    assert texts[2] == "You put the mug 1 in/on the cabinet 1."


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(:init", "(:start", "has no .:init"),
        ("(atLocation", "(isFlying", "isflying"),
        ("(receptacleAtLocation", "(openable", "not built like ALFWorld's"),
    ],
)
def test_a_problem_of_another_build_is_refused(record: dict[str, Any], old: str, new: str, message: str) -> None:
    with pytest.raises(EnvError, match=rf"^test .*{message}.*; fetch the data again"):
        game_of(record, **{old: new})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"task"', '"tusk"', "no task sentence"),
        ("You close the {r.name}.", "You close the {z.name}.", "grammar is not built"),
        ('"rhs": "You close', '"rhs: "You close', "grammar is not built"),
        ('{"rhs": "You are not carrying', '"?", {"rhs": "You are not carrying', "grammar is not built"),
    ],
)
def test_a_grammar_of_another_build_is_refused(record: dict[str, Any], old: str, new: str, message: str) -> None:
    assert old in record["grammar"]
    with pytest.raises(EnvError, match=rf"^FILE .*{message}.*; fetch the data again") as refusal:
        read_game({**record, "grammar": record["grammar"].replace(old, new)}, source="FILE")
    assert "textworld" not in str(refusal.value)


def test_a_goal_of_another_sort_is_refused() -> None:
    with pytest.raises(EnvError, match="goal"):
        read_game(tiny("", KITCHEN, "(exists (?o) (and (objectType ?o MugType) (isBroken ?o)))"), source="test")


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"grammar": "x", "pddl', '{"grammar": "x", "pddl_problem": 1}']
)
def test_a_missing_or_broken_file_is_refused_with_its_path(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "game.tw-pddl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(EnvError, match=rf"{path}.*data again"):
        load_record(path)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 400), st.sampled_from(["pddl_problem", "grammar"]))
def test_a_game_with_a_piece_missing_is_read_or_refused_but_never_crashes(start: int, length: int, field: str) -> None:
    record = make_record(SPEC, errand(SPEC, "train", 1))
    text = record[field]
    start %= len(text)
    try:
        game = read_game({**record, field: text[:start] + text[start + length :]}, source="test")
    except EnvError:
        return
    engine.opening(game)
    known = engine.commands(game, game.start)
    assert list(known) == sorted(known)


def test_a_file_and_its_contents_are_the_same_game(tmp_path: Path, record: dict[str, Any]) -> None:
    path = tmp_path / "game.tw-pddl"
    path.write_text(json.dumps(record))
    assert read_game(load_record(path), source="test") == read_game(record, source="test")
