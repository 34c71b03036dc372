"""WebShop's expert, from any page, in generated and official shops."""

import random
from pathlib import Path

import pytest

from envs import EnvStep
from envs.webshop import WebShop
from envs.webshop.reward import option_fits


def finish(env: WebShop) -> EnvStep:
    for action in env.expert():
        env.step(action)
    return env.snapshot().last


@pytest.mark.parametrize("goals", ["synthetic", "human"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_goal_of_a_generated_shop_is_won_in_few_steps(seed: int, goals: str) -> None:
    env = WebShop(shop_size=60, shop_seed=seed, goals=goals)
    for task in [*env.tasks("train"), *env.tasks("validation")]:
        env.reset(task)
        assert finish(env).won, task
        assert env.snapshot().turns <= 9


def test_every_action_of_the_expert_is_admissible() -> None:
    env = WebShop(shop_size=120)
    for task in env.tasks("validation"):
        env.reset(task)
        for action in env.expert():
            admissible = env.snapshot().last.admissible
            assert action in admissible or (action.startswith("search[") and "search[<query>]" in admissible)
            env.step(action)


def test_it_wins_from_wherever_a_wanderer_left_off() -> None:
    env = WebShop(shop_size=120, max_steps=60)
    rng = random.Random(0)
    for task in env.tasks("validation")[:20]:
        now = env.reset(task)
        for _ in range(12):
            safe = [action for action in now.admissible if action != "click[buy now]"]
            now = env.step(rng.choice(safe).replace("<query>", "red hats"))
        assert finish(env).won, task


def test_of_the_official_goals_it_wins_nearly_all_that_can_be_won(shared_data: Path) -> None:
    env = WebShop(data=shared_data / "webshop")
    shop = env._shop
    values = {v for n in range(len(shop)) for group in shop.product(n).options.values() for v in group}
    # A goal cannot be won if no value in the whole shop counts for one of its options.
    possible: dict[object, bool] = {}
    won = lost = hopeless = 0
    for task in env.tasks("validation")[::4]:
        env.reset(task)
        if finish(env).won:
            won += 1
            continue
        lost += 1
        for option in env.goal(task).options:
            if option not in possible:
                possible[option] = any(option_fits(option, value) for value in values)
        hopeless += not all(possible[option] for option in env.goal(task).options)
    assert won / (won + lost) > 0.92
    assert won / (won + lost - hopeless) > 0.98
