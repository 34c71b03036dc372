"""Every turn equals the original engine's, if its packages are installed."""

import itertools
import random
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from envs import EnvError
from envs.alfworld import ALFWorld
from envs.alfworld.engine import commands, opening, perform
from envs.alfworld.game import read_game
from envs.alfworld.generate import Generated
from envs.alfworld.household import Households

STEPS = 50
HOUSEHOLDS: dict[str, Any] = {"train": 60, "held_out": 6, "receptacles": 9, "objects": 16}


@pytest.fixture(scope="module")
def original() -> type[ALFWorld]:
    for package in ("textworld", "alfworld", "fast_downward"):
        pytest.importorskip(package, reason=f"the original engine needs {package}: pip install alfworld==0.4.2")
    return ALFWorld


def choice(rng: random.Random, admissible: tuple[str, ...], objects: list[str]) -> str:
    """Mostly commands that change something, sometimes any command, sometimes nonsense."""
    if rng.random() < 0.05:
        return rng.choice(["", "LOOK", " look ", "fly", "go to moon 1", f"examine {rng.choice(objects)}"])
    telling = [line for line in admissible if not line.startswith(("go to", "help", "inventory"))]
    return rng.choice(telling if telling and rng.random() < 0.7 else admissible)


def compare(native: ALFWorld, original: ALFWorld, task: str, rng: random.Random) -> int:
    """Plays one episode in both engines and compares every field of every step."""
    now = native.reset(task)
    assert now == original.reset(task)
    steps = 0
    while now.ending is None and steps < STEPS:
        action = choice(rng, now.admissible or (), ["mug 1", "knife 1", "desklamp 1"])
        now = native.step(action)
        assert now == original.step(action), (task, action)
        steps += 1
    return steps


@pytest.mark.slow
def test_generated_households_are_the_same_in_both_engines(original: type[ALFWorld]) -> None:
    engines = [original(engine=engine, households=HOUSEHOLDS) for engine in ("native", "textworld")]
    tasks = engines[0].tasks("train")[::10]
    assert {engines[0].kind(task) for task in tasks} == {engines[0].kind(task) for task in engines[0].tasks("train")}
    rng = random.Random(0)
    assert sum(compare(*engines, task, rng) for task in tasks) > 100


@pytest.mark.slow
@pytest.mark.timeout(3600)  # the original needs seconds to load a kitchen
def test_official_games_are_the_same_in_both_engines(original: type[ALFWorld], shared_data: Path) -> None:
    sample = shared_data / "alfworld" / "sample"
    engines = [original(data=sample, engine=engine) for engine in ("native", "textworld")]
    rng = random.Random(0)
    tasks = [task for split in ("train", "valid_seen", "valid_unseen") for task in engines[0].tasks(split)]
    assert len(tasks) == 18
    assert sum(compare(*engines, task, rng) for task in tasks) > 600


@pytest.mark.slow
def test_other_wording_and_a_start_at_a_receptacle_are_the_same_in_both_engines(original: type[ALFWorld]) -> None:
    games = Generated(spec=Households(**HOUSEHOLDS))
    record = dict(games.record(games.tasks("train")[0]))
    start = re.search(r"atLocation agent1 (\w+)", record["pddl_problem"])
    elsewhere = re.search(r"receptacleAtLocation \w+ (\w+)", record["pddl_problem"])
    assert start is not None
    assert elsewhere is not None
    record["pddl_problem"] = record["pddl_problem"].replace(start[0], f"atLocation agent1 {elsewhere[1]}")
    older = record["grammar"].replace("move {o} to {r}", "put {o} in/on {r}")
    older = older.replace("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}.")
    record["grammar"] = older.replace('"rhs": "Available', '"rhs": "\\n\\nAvailable')
    game, engine = read_game(record, source="test"), import_module("envs.alfworld.oracle").TextWorldEngine()
    first = engine.reset(record)
    assert opening(game) == first.observation
    assert "You are facing the" in first.observation
    state, rng = game.start, random.Random(0)
    for number in range(STEPS):
        known = commands(game, state)
        line = "help" if number == 0 else rng.choice([line for line in known if not line.startswith("examine")])
        state, text = perform(game, state, known[line])
        answer = engine.step(line)
        assert (text, tuple(commands(game, state))) == (answer.observation, answer.commands), line


@pytest.mark.slow
def test_games_played_side_by_side_in_one_thread_leave_each_other_alone(original: type[ALFWorld]) -> None:
    engines = [[original(engine=engine, households=HOUSEHOLDS) for _ in range(3)] for engine in ("native", "textworld")]
    pairs, rng = list(zip(*engines, strict=True)), random.Random(0)
    tasks = pairs[0][0].tasks("train")
    now = [pair[0].reset(task) for pair, task in zip(pairs, tasks[::20], strict=True)]
    assert now == [pair[1].reset(task) for pair, task in zip(pairs, tasks[::20], strict=True)]
    for turn in range(30):
        number = rng.randrange(3)
        native, other = pairs[number]
        if now[number].ending is not None or turn == 15:  # a new game among games under way
            task = rng.choice(tasks)
            now[number] = native.reset(task)
            assert now[number] == other.reset(task)
        action = choice(rng, now[number].admissible or (), ["mug 1"])
        now[number] = native.step(action)
        assert now[number] == other.step(action), action


@pytest.mark.slow
def test_the_expert_wins_in_the_original_too(original: type[ALFWorld]) -> None:
    env = original(engine="textworld", households=HOUSEHOLDS)
    for task in env.tasks("valid_unseen"):
        now = env.reset(task)
        for action in env.expert():
            now = env.step(action)
        assert now.won


def test_the_original_cannot_be_rewound(original: type[ALFWorld]) -> None:
    env = original(engine="textworld", households=HOUSEHOLDS)
    env.reset(env.tasks("train")[0])
    with pytest.raises(EnvError, match="snapshots with engine='native'"):
        env.snapshot()


def test_what_goes_wrong_in_the_original_is_an_error_of_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty:
        def __init__(self, *_: object, **__: object) -> None:
            self.load = self.reset = self.step = lambda *_: [][0]

    for module, names in {
        "alfworld.agents.environment.alfred_tw_env": ("AlfredDemangler",),
        "textworld": ("EnvInfos",),
        "textworld.envs.pddl": ("PddlEnv",),
    }.items():
        fake = ModuleType(module)
        for name in names:
            setattr(fake, name, Faulty)
        for parent in itertools.accumulate(module.split("."), "{}.{}".format):
            monkeypatch.setitem(sys.modules, parent, sys.modules.get(parent, ModuleType(parent)))
        monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.delitem(sys.modules, "envs.alfworld.oracle", raising=False)
    env = ALFWorld(engine="textworld", households=HOUSEHOLDS)
    del sys.modules["envs.alfworld.oracle"]
    with pytest.raises(EnvError, match=r"the original engine failed on this game \(IndexError.*engine='native'"):
        env.reset(env.tasks("train")[0])


def test_without_its_packages_the_original_is_refused_with_the_remedy() -> None:
    try:
        import alfworld  # noqa: F401, PLC0415
    except ImportError:
        with pytest.raises(EnvError, match=r"not installed.*pip install alfworld==0\.4\.2.*engine='native'"):
            ALFWorld(engine="textworld")
    else:
        pytest.skip("the original engine's packages are installed here")
