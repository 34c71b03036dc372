"""The worlds as Gymnasium environments."""

import subprocess
import sys
import warnings
from importlib.util import find_spec

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

import envs.gym
from envs import EnvError

TEXTCRAFT = envs.WORLDS["textcraft"].gym.id
SPOON = "minecraft:copper_spoon"
WINNING = (
    "get 5 copper",
    "craft 1 copper plate using 3 copper",
    "craft 1 copper rod using 2 copper",
    "craft 1 copper spoon using 1 copper plate, 1 copper rod",
)


def make(**options: object) -> gymnasium.Env[str, str]:
    return gymnasium.make(TEXTCRAFT, **options)


@pytest.mark.parametrize(
    "world",
    [
        pytest.param(
            world,
            marks=pytest.mark.skipif(
                world == "reasoning_gym" and find_spec(world) is None, reason="the extra `reasoning` is not installed"
            ),
        )
        for world in envs.WORLDS
    ],
)
def test_gymnasiums_own_checker_has_no_complaint(world: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(envs.WORLDS[world].gym.id).unwrapped)


def test_every_world_has_an_id_of_its_own_that_is_registered() -> None:
    ids = {world.gym.id for world in envs.WORLDS.values()}
    assert len(ids) == len(envs.WORLDS)
    assert ids | {envs.gym.ANY_WORLD} <= gymnasium.registry.keys()


def test_the_module_in_the_id_registers_it_in_a_fresh_process() -> None:
    code = "import gymnasium; print(gymnasium.make('envs.gym:stepcredit/TextCraft-v0').unwrapped.spec.id)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "stepcredit/TextCraft-v0"


@pytest.mark.parametrize("world", sorted(set(envs.WORLDS) - {"arithmetic", "reasoning_gym"}))  # of one turn
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_several_episodes_are_played_at_once_as_each_would_be_alone(world: str, mode: str) -> None:
    name = f"envs.gym:{envs.WORLDS[world].gym.id}"
    kwargs = {"shared_memory": False} if mode == "async" else {}
    many = gymnasium.make_vec(name, num_envs=2, vectorization_mode=mode, vector_kwargs=kwargs, max_steps=2)
    alone = [gymnasium.make(name, max_steps=2) for _ in range(2)]
    observations, infos = many.reset(seed=[3, 4])
    firsts = [env.reset(seed=seed) for env, seed in zip(alone, (3, 4), strict=True)]
    assert list(observations) == [first for first, _ in firsts]
    assert list(infos["task_id"]) == [info["task_id"] for _, info in firsts]
    for _ in range(2):
        observations, rewards, won, cut, infos = many.step(("inventory", "look"))
        steps = [env.step(action) for env, action in zip(alone, ("inventory", "look"), strict=True)]
        assert list(observations) == [step[0] for step in steps]
        assert [list(column) for column in (rewards, won, cut)] == [[step[at] for step in steps] for at in (1, 2, 3)]
        assert list(infos["state_key"]) == [step[4]["state_key"] for step in steps]
    assert list(cut) == [True, True]
    # In Gymnasium the step after the end is the next reset.
    observations, _, _, cut, infos = many.step(("look", "look"))
    again = [env.reset() for env in alone]
    assert (list(observations), list(cut)) == ([first for first, _ in again], [False, False])
    assert list(infos["task_id"]) == [info["task_id"] for _, info in again]
    many.close()


def test_registering_twice_changes_nothing() -> None:
    before = gymnasium.registry[TEXTCRAFT]
    envs.gym.register()
    assert gymnasium.registry[TEXTCRAFT] is before


def test_a_task_asked_for_is_the_task_played_and_won() -> None:
    env = make()
    observation, info = env.reset(seed=1, options={"task_id": SPOON})
    assert observation.endswith("Goal: craft copper spoon.")
    assert info == {
        "task_id": SPOON,
        "state_key": "nothing",
        "admissible": None,
        "won": False,
        "score": 0.0,
        "ending": None,
    }
    steps = [env.step(action) for action in WINNING]
    assert [step[1:4] for step in steps] == [(0.0, False, False)] * 3 + [(1.0, True, False)]
    assert (steps[-1][4]["won"], steps[-1][4]["ending"]) == (True, "success")


def test_the_step_limit_truncates() -> None:
    env = make(max_steps=1)
    env.reset(seed=1)
    assert env.step("inventory")[1:4] == (0.0, False, True)


def test_without_a_task_the_seed_draws_one_of_the_split() -> None:
    env = make(split="test_depth3")
    drawn = {env.reset(seed=seed)[1]["task_id"] for seed in range(200)}
    world = envs.make("textcraft")
    assert drawn == set(world.tasks("test_depth3"))
    assert env.reset(seed=7) == env.reset(seed=7)


def test_wrong_options_and_actions_are_refused() -> None:
    env = make()
    with pytest.raises(ValueError, match="no option 'task'; its only one is 'task_id'"):
        env.reset(options={"task": SPOON})
    with pytest.raises(EnvError, match="'moon' cannot be crafted"):
        env.reset(options={"task_id": "moon"})
    env.reset(seed=1)
    for action in ("x" * 513, "日本", "get 1\nhemp"):
        with pytest.raises(ValueError, match="is not an action: at most 512 printable ASCII characters"):
            env.step(action)


def test_a_world_gets_options_that_have_the_name_of_a_parameter_and_actions_as_long_as_its_own() -> None:
    options = {"world": "webshop", "shop_size": 20, "world_options": {"split": "by_product"}}
    assert gymnasium.make(envs.gym.ANY_WORLD, **options).reset(seed=1)[0].startswith("WebShop")
    code = gymnasium.make(envs.WORLDS["code"].gym.id)
    code.reset(seed=1)
    assert "tests failed" in code.step(f"def f(x):\n    return {'x' * 600!r}")[0]
    with pytest.raises(ValueError, match="at most 10000 characters"):
        code.step("x" * 10_001)


def test_a_reset_that_fails_leaves_no_episode_to_step_in() -> None:
    env = make().unwrapped
    env.reset(seed=1, options={"task_id": SPOON})
    with pytest.raises(EnvError, match="'moon' cannot be crafted"):
        env.reset(options={"task_id": "moon"})
    assert env._task_id == SPOON
    with pytest.raises(EnvError, match="no episode is under way"):
        env.step("inventory")


def test_alfworlds_observations_lie_in_the_space_and_its_commands_among_the_actions(shared_data) -> None:
    env = gymnasium.make(envs.WORLDS["alfworld"].gym.id, data=shared_data / "alfworld" / "sample")
    observation, info = env.reset(seed=0)
    while True:
        assert env.observation_space.contains(observation)
        assert all(env.action_space.contains(action) for action in info["admissible"])
        observation, _, terminated, truncated, info = env.step(info["admissible"][len(observation) % 7])
        if terminated or truncated:
            break


def test_every_observation_of_the_original_game_lies_in_the_space(shared_data) -> None:
    env = make(recipes=shared_data / "textcraft" / "recipes")
    for task in env.unwrapped._world.tasks("test")[:20]:
        observation, _ = env.reset(seed=0, options={"task_id": task})
        assert env.observation_space.contains(observation)
    digits = "9" * 400
    for _ in range(39):
        observation = env.step(f"get {digits} quartz")[0]
    assert env.observation_space.contains(env.step("inventory")[0])


def test_the_official_shops_pages_lie_in_the_space_and_a_purchase_terminates(shared_data) -> None:
    env = gymnasium.make(envs.WORLDS["webshop"].gym.id, data=shared_data / "webshop", observation_mode="text_rich")
    env.reset(seed=0, options={"task_id": "goal-3573"})
    for action in ("search[womens winter plus velvet leggings 日本]", "click[b08q43ljkj]", "click[description]"):
        assert env.observation_space.contains(env.step(action)[0])
    with pytest.raises(ValueError, match="at most 512 characters"):
        env.step("日" * 513)
    env.step("click[< prev]")
    assert env.step("click[buy now]")[2:4] == (True, False)
