"""WebShop equals the original: recorded episodes in all observation modes, goals, prices and rewards."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envs import EnvStep
from envs.panel import digest_of
from envs.webshop import WebShop
from envs.webshop.files import ShopFiles
from envs.webshop.goals import Goal, GoalTable, draw_goals
from envs.webshop.products import Product, read_products
from envs.webshop.reward import judge


@pytest.fixture(scope="module")
def files(shared_data: Path) -> ShopFiles:
    folder = shared_data / "webshop"
    return ShopFiles(
        products=folder / "items_shuffle_1000.json",
        attributes=folder / "items_ins_v2_1000.json",
        human=folder / "items_human_ins.json",
        nouns=folder / "title_nouns_en_core_web_sm-3.8.0.json",
    )


@pytest.fixture(scope="module")
def products(files: ShopFiles) -> dict[str, Product]:
    nouns = json.loads(files.nouns.read_text())
    read = read_products(files.products, files.attributes, files.human)
    return {product.asin: replace(product, nouns=tuple(nouns[product.asin])) for product in read}


@pytest.fixture(scope="module")
def goals(products: dict[str, Product]) -> GoalTable:
    return draw_goals(products.values(), "synthetic", 0)


def records(shared_data: Path, name: str) -> list[dict[str, Any]]:
    path = shared_data / "traces" / "webshop" / f"{name}.jsonl.gz"
    return list(map(json.loads, gzip.decompress(path.read_bytes()).splitlines()))


def same(now: EnvStep, observation: str, actions: dict[str, Any], reward: float, done: bool) -> bool:
    clicks = [f"click[{name}]" for name in actions["clickables"]]
    admissible = ["search[<query>]", *clicks] if actions["has_search_bar"] else clicks
    return (
        now.observation == observation
        and now.admissible == tuple(admissible)
        and now.reward == now.score == reward
        and (now.ending is not None) == done
        and now.won == (reward == 1.0)
    )


@pytest.mark.parametrize(("mode", "steps"), [("text", 197), ("text_rich", 5), ("url", 15)])
def test_every_recorded_episode_is_replayed_to_the_letter(shared_data: Path, mode: str, steps: int) -> None:
    env = WebShop(data=shared_data / "webshop", observation_mode=mode, max_steps=100)
    addresses = WebShop(data=shared_data / "webshop", observation_mode="url", max_steps=100)
    replayed = 0
    for record in records(shared_data, f"traces_{mode}"):
        task = f"goal-{record['goal_index']}"
        addresses.reset(task)
        assert same(env.reset(task), record["reset_observation"], record["reset_available_actions"], 0.0, False)
        for step in record["steps"]:
            now = env.step(step["action"])
            expected = step["observation"], step["available_actions"], step["reward"], step["done"]
            assert same(now, *expected), (task, step["action"])
            assert addresses.step(step["action"]).observation == step["url"]
            replayed += 1
        if record["verbose_info"] is not None:
            assert parts(env.verdict()) == record["verbose_info"]
    assert replayed == steps


def parts(verdict: Any) -> dict[str, Any]:
    """The original's names for the parts of a reward."""
    found = {
        "r_type": verdict.type_factor,
        "r_att": verdict.attributes,
        "query_match": verdict.query_match,
        "category_match": verdict.category_match,
        "title_score": verdict.title_score,
        "r_option": verdict.options,
        "r_price": verdict.price,
        "w_att": verdict.weights[0],
        "w_option": verdict.weights[1],
        "w_price": verdict.weights[2],
    }
    return {name: value for name, value in found.items() if value is not None}


def test_180_rewards_and_their_parts_are_the_originals(shared_data: Path, products: dict[str, Product]) -> None:
    cases = records(shared_data, "reward_cases")
    assert len(cases) == 180
    for case in cases:
        asked = case["goal"]
        options = asked["goal_options"]
        goal = Goal(
            product=0,
            asin=asked["asin"],
            category=asked["category"],
            query=asked["query"],
            product_category=asked["product_category"],
            text=asked["instruction_text"],
            attributes=tuple(asked["attributes"]),
            cap=asked["price_upper"],
            options=tuple(options.items()) if isinstance(options, dict) else tuple(options),
            nouns=products[asked["asin"]].nouns,
            weight=1.0,
        )
        verdict = judge(goal, products[case["asin"]], case["price"], case["options"])
        assert verdict.score == case["reward"]
        assert parts(verdict) == case["info"]


def test_prices_are_drawn_as_the_original_draws_them(
    shared_data: Path, products: dict[str, Product], goals: GoalTable
) -> None:
    drawn = json.loads(gzip.decompress((shared_data / "traces" / "webshop" / "prices_seed0.json.gz").read_bytes()))
    assert dict(zip(products, goals.prices.tolist(), strict=True)) == drawn


def test_the_first_300_of_6910_goals_are_the_originals(
    shared_data: Path, products: dict[str, Product], goals: GoalTable
) -> None:
    assert len(goals) == 6910
    listed = list(products.values())
    cases = records(shared_data, "goals_synthetic_seed0_first300")
    assert [case["index"] for case in cases] == list(range(300))
    for case in cases:
        product = listed[goals.product_of(case["index"])]
        goal = goals.goal(case["index"], product)
        assert {
            "index": case["index"],
            "asin": goal.asin,
            "category": goal.category,
            "query": goal.query,
            "name": product.title,
            "product_category": goal.product_category,
            "instruction_text": goal.text,
            "attributes": list(goal.attributes),
            "price_upper": goal.cap,
            "goal_options": dict(goal.options),
            "weight": goal.weight,
        } == case


def test_13_people_asked_for_these_products(shared_data: Path) -> None:
    env = WebShop(data=shared_data / "webshop", goals="human")
    goals = [env.goal(f"goal-{number}") for number in range(13)]
    spoken = json.loads((shared_data / "webshop" / "items_human_ins.json").read_text())
    for goal in goals:
        (said,) = spoken[goal.asin]
        assert goal.text.startswith(said["instruction"].strip("."))
        assert goal.options == tuple(said["instruction_options"])
        assert goal.weight == 1.0
    assert sorted(goal.asin for goal in goals) == sorted(spoken)


def test_a_product_with_every_official_field_is_read(shared_data: Path, products: dict[str, Product]) -> None:
    folder = shared_data / "webshop"
    first = folder / "items_shuffle_official_first_item.json"
    (product,) = read_products(first, folder / "items_ins_v2_1000.json", None)
    assert product == replace(products[product.asin], nouns=(), human=())


def test_481_of_the_first_500_goals_share_a_product_with_later_ones(shared_data: Path) -> None:
    env = WebShop(data=shared_data / "webshop")
    train = {env.goal(task).asin for task in env.tasks("train")}
    validation = env.tasks("validation")
    assert list(validation) == [f"goal-{number}" for number in range(500)]
    assert sum(env.goal(task).asin in train for task in validation) == 481


def test_by_product_holds_out_500_goals_whose_products_nobody_trains_on(shared_data: Path) -> None:
    env = WebShop(data=shared_data / "webshop", split="by_product")
    train, validation = ({env.goal(task).asin for task in env.tasks(name)} for name in ("train", "validation"))
    assert not train & validation
    assert len(env.tasks("validation")) == 500
    assert len(env.tasks("train")) > 5500


def test_one_official_validation_goal_equals_a_training_goal(shared_data: Path) -> None:
    env = WebShop(data=shared_data / "webshop")
    train, validation = (
        {digest_of(env.definition(task_id).content): task_id for task_id in env.tasks(split)}
        for split in ("train", "validation")
    )
    assert [validation[digest] for digest in validation.keys() & train.keys()] == ["goal-98"]


def test_verl_agent_leaks_every_validation_goal_into_training(shared_data: Path) -> None:
    env = WebShop(data=shared_data / "webshop", split="verl_agent")
    train, validation = set(env.tasks("train")), set(env.tasks("validation"))
    assert len(train) == 6910
    assert 120 < len(validation) <= 128
    assert validation <= train
