"""What every world promises, tested on each world of `envs.WORLDS`."""

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from envs import WORLDS, Ending, Env, EnvError, EnvStep, make
from trainer.config.build import build
from trainer.config.settings import EnvConfig

ROOT = Path(__file__).parents[2]
SHARED_DATA = ROOT.parent / "shared" / "data"

# World -> the options of each data set that its contract is tested on; a world without an entry is tested on its
# defaults. "shared" needs the real data beside the checkout.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "alfworld": {
        "own": {"households": {"train": 60, "held_out": 30}},
        "shared": {"data": str(SHARED_DATA / "alfworld" / "sample")},
    },
    "arithmetic": {
        "own": {"train": 30, "validation": 8},
        "questions": {"questions": str(Path(__file__).parent / "questions.jsonl")},
    },
    "code": {"own": {"depths": (1, 3), "train": 8, "validation": 3}},
    "reasoning_gym": {"own": {"train": 12, "validation": 4}},
    "textcraft": {"own": {}, "shared": {"recipes": str(SHARED_DATA / "textcraft" / "recipes")}},
    # Some of the official synthetic goals cannot be won: tests/envs/test_webshop_expert.py counts them.
    "webshop": {
        "own": {"shop_size": 100},
        "own_human": {"shop_size": 100, "goals": "human"},
        "shared": {"data": str(SHARED_DATA / "webshop"), "goals": "human"},
    },
}
CASES = [(name, data) for name in WORLDS for data in OPTIONS.get(name, {"own": {}})]
# Nonsense plays on until the step limit, except in a world of one turn.
NONSENSE_ENDS = {"arithmetic": Ending.FAILURE, "reasoning_gym": Ending.FAILURE}
TRANSCRIPT = """
import sys
from envs import make
env = make(sys.argv[1], **eval(sys.argv[2]))
for split in ("train", sys.argv[3]):
    print(split, list(env.tasks(split)))
    for task in env.tasks(split)[::7]:
        for seed in (0, 1):
            print(env.reset(task, seed=seed))
            for action in env.expert():
                print(action, env.step(action))
"""


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    name, data = request.param
    if data == "shared" and not SHARED_DATA.is_dir():
        pytest.skip(f"no real data: {SHARED_DATA} is missing")
    if name == "reasoning_gym" and find_spec(name) is None:
        pytest.skip("the extra `reasoning` is not installed")
    return name, OPTIONS.get(name, {"own": {}})[data]


@pytest.fixture
def env(case: tuple[str, dict[str, Any]]) -> Iterator[Env]:
    name, options = case
    world = make(name, **options)
    yield world
    world.close()


@pytest.fixture
def held_out(case: tuple[str, dict[str, Any]]) -> str:
    """The validation split of the world's own YAML."""
    return settings(case[0]).validation_split


def settings(world: str) -> EnvConfig:
    return build(EnvConfig, yaml.safe_load((ROOT / "configs" / "env" / f"{world}.yaml").read_text()))


def solve(env: Env) -> EnvStep:
    last = None
    for action in env.expert():
        last = env.step(action)
    assert last is not None
    return last


@pytest.mark.parametrize("world", WORLDS)
def test_every_world_has_a_yaml_of_its_name_whose_options_and_style_it_takes(world: str) -> None:
    own = settings(world)
    assert own.world == world
    assert set(own.options) <= set(inspect.signature(WORLDS[world].make).parameters)
    WORLDS[world].prompter(own.style)


def test_test_options_belong_to_worlds_that_exist() -> None:
    assert set(OPTIONS) | set(NONSENSE_ENDS) <= set(WORLDS)


def test_a_world_offers_what_env_asks_for(env: Env) -> None:
    assert isinstance(env, Env)


def test_train_and_held_out_share_no_task_and_name_none_twice(env: Env, held_out: str) -> None:
    train, test = env.tasks("train"), env.tasks(held_out)
    assert len(set(train)) == len(train) > 0
    assert len(set(test)) == len(test) > 0
    assert not set(train) & set(test)


def test_the_same_seed_is_the_same_episode_in_another_process(
    case: tuple[str, dict[str, Any]], held_out: str, tmp_path: Path
) -> None:
    name, options = case
    command = [sys.executable, "-c", TRANSCRIPT, name, repr(options), held_out]
    transcripts = [
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": seed, "STEPCREDIT_CACHE": f"{tmp_path / seed}"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    ]
    assert transcripts[0] == transcripts[1] != ""


def test_a_reset_forgets_the_episode_before(env: Env) -> None:
    task = env.tasks("train")[0]
    fresh = env.reset(task, seed=5)
    env.step(next(env.expert()))
    assert env.reset(task, seed=5) == fresh


def test_a_reset_that_fails_leaves_no_episode_to_play_on(env: Env) -> None:
    env.reset(env.tasks("train")[0])
    with pytest.raises(EnvError, match="no such task"):
        env.reset("no such task")
    with pytest.raises(EnvError, match=r"reset .* first"):
        env.step("anything")


def test_from_every_snapshot_an_episode_goes_on_as_it_went_on_before(env: Any) -> None:
    if not hasattr(env, "snapshot"):
        pytest.skip("this world offers no snapshots")
    task, other = env.tasks("train")[:2]
    walked, saved, actions = [env.reset(task)], [env.snapshot()], []
    for action in env.expert():
        actions.append(action)
        walked.append(env.step(action))
        saved.append(env.snapshot())
    env.reset(other)
    for place, snapshot in enumerate(saved):
        assert env.restore(snapshot) == walked[place]
        assert [env.step(action) for action in actions[place:]] == walked[place + 1 :]


def test_the_expert_solves_every_task_of_every_split(env: Env, held_out: str) -> None:
    for split in ("train", held_out):
        for task in env.tasks(split):
            env.reset(task)
            last = solve(env)
            assert (last.ending, last.won, last.score) == (Ending.SUCCESS, True, 1.0), task


def test_no_step_is_taken_after_the_end(env: Env) -> None:
    env.reset(env.tasks("train")[0])
    solve(env)
    with pytest.raises(EnvError, match="ended"):
        env.step("anything")
    assert list(env.expert()) == []


def test_no_step_is_taken_before_the_first_reset_or_after_close(env: Env) -> None:
    with pytest.raises(EnvError, match="reset"):
        env.step("anything")
    env.reset(env.tasks("train")[0])
    env.close()
    with pytest.raises(EnvError, match="reset"):
        env.step("anything")


def test_nonsense_is_answered_in_text_and_scores_the_minimum_until_the_limit(
    case: tuple[str, dict[str, Any]], env: Env
) -> None:
    env.reset(env.tasks("train")[0])
    nonsense = ("", " ", "xyzzy", "craft", "\n", "get 1 moon", "craft 1 moon using 1 sun", "日本")
    for turn in range(1000):
        now = env.step(nonsense[turn % len(nonsense)])
        assert (now.reward, now.score, now.won) == (0.0, 0.0, False)
        if now.ending is not None:
            break
    assert now.ending is NONSENSE_ENDS.get(case[0], Ending.LIMIT)


def test_unknown_tasks_and_splits_are_refused(env: Env) -> None:
    with pytest.raises(EnvError, match="'no such task'"):
        env.reset("no such task")
    with pytest.raises(EnvError, match=r"no split 'no such split'.*train"):
        env.tasks("no such split")
