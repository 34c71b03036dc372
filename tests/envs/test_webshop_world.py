"""The WebShop class, in shops that a test writes and in a generated one."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs import WORLDS, Ending, EnvError, make
from envs.prompts import Message, Reply
from envs.webshop import WebShop

ShopMaker = Callable[..., Path]


def values(*names: str) -> list[dict[str, Any]]:
    return [{"value": name, "image": None} for name in names]


def item(asin: str, name: str = "Alder mug", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "full_description": "A mug.",
        "pricing": "$12.00",
        "images": ["mug.jpg"],
        "product_category": "Home › Dining › Mugs",
        "small_description": ["It is hand painted.", "", "Big"],
        "customization_options": {
            "Color": values("Red", " Blue/Green "),
            "Size": values("Small", "Large"),
            "Gone": None,
        },
        "asin": asin,
        "category": "garden",
        "query": " Coffee Mugs ",
    } | changes


@pytest.fixture
def shop(tmp_path: Path) -> ShopMaker:
    """Writes a folder with these items; each has an instruction that names "hand painted"."""

    def write(*items: dict[str, Any], instruction: str = "Find me hand painted mugs") -> Path:
        instructed = {"instruction": instruction, "instruction_attributes": ["hand painted"]}
        attributes = {item["asin"]: {"attributes": ["hand painted"], **instructed} for item in items}
        nouns = {item["asin"]: item["name"].lower().split() for item in items}
        for name, content in (("items_shuffle", items), ("items_ins_v2", attributes), ("title_nouns", nouns)):
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return tmp_path

    return write


def opened(folder: Path, **options: Any) -> WebShop:
    env = WebShop(data=folder, **options)
    env.reset("goal-0")
    env.step("search[mug]")
    return env


def test_an_episode_from_the_search_page_to_the_receipt(shop: ShopMaker) -> None:
    env = WebShop(data=shop(item("B1")))
    first = env.reset("goal-0")
    goal = env.goal("goal-0")
    assert first.observation == f"WebShop [SEP] Instruction: [SEP] {goal.text} [SEP] Search"
    assert goal.text.startswith("Find me hand painted mugs with color: ")
    assert first.admissible == ("search[<query>]", "click[search]")
    frame = f"Instruction: [SEP] {goal.text} [SEP] Back to Search [SEP] "
    found = env.step("search[MUGS]")
    assert found.observation == f"{frame}Page 1 (Total results: 1) [SEP] Next > [SEP] B1 [SEP] Alder mug [SEP] $12.0"
    assert found.admissible == ("click[back to search]", "click[next >]", "click[b1]")
    opened_item = env.step("click[B1]")
    assert opened_item.observation == (
        f"{frame}< Prev [SEP] color [SEP] red [SEP] blue | green [SEP] size [SEP] small [SEP] large [SEP] Alder mug "
        "[SEP] Price: $12.0 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )
    assert env.step("click[features]").observation == f"{frame}< Prev [SEP] It is hand painted. [SEP]  [SEP] Big"
    assert env.step("click[< prev]").observation == opened_item.observation
    assert env.step("click[reviews]").observation == f"{frame}< Prev"
    env.step("click[< prev]")
    for _, value in goal.options:
        env.step(f"click[{value}]")
    bought = env.step("click[buy now]")
    assert (bought.ending, bought.reward, bought.won, bought.admissible) == (Ending.SUCCESS, 1.0, True, ())
    assert bought.observation.startswith("Thank you for shopping with us! [SEP] Your code: [SEP] None")


def test_buying_without_the_options_ends_the_episode_with_what_it_is_worth(shop: ShopMaker) -> None:
    env = opened(shop(item("B1")))
    env.step("click[b1]")
    bought = env.step("click[buy now]")
    # one attribute and the price of 1 + 2 + 1
    assert (bought.ending, bought.reward, bought.score, bought.won) == (Ending.FAILURE, 0.5, 0.5, False)


def test_the_step_limit_ends_the_episode(shop: ShopMaker) -> None:
    env = WebShop(data=shop(item("B1")), max_steps=2)
    env.reset("goal-0")
    assert env.step("search[mug]").ending is None
    assert env.step("click[b1]").ending is Ending.LIMIT
    with pytest.raises(EnvError, match=r"goal-0 ended \(limit\)"):
        env.step("click[buy now]")


@pytest.mark.parametrize("action", ["Click[b1]", "click[b2]", "click[]", "buy now", "search[]", "click[search]", "<r>"])
def test_an_invalid_action_changes_nothing(shop: ShopMaker, action: str) -> None:
    env = opened(shop(item("B1")))
    before = env.snapshot()
    assert env.step(action) == before.last
    assert env.snapshot().session == before.session


def test_hidden_queries_of_the_original_are_plain_text(shop: ShopMaker) -> None:
    env = opened(shop(item("B1"), item("B2", "Brixo bowl", customization_options="")))
    assert "Total results: 0" in env.step("search[<r>]").observation
    assert "Total results: 1" in env.step("search[<q> bowl]").observation


@pytest.mark.parametrize("way", [("click[< prev]",), ("click[back to search]", "search[mug]"), ("search[mug]",)])
def test_leaving_a_product_clears_its_options_and_a_sub_page_does_not(shop: ShopMaker, way: tuple[str, ...]) -> None:
    env = opened(shop(item("B1")))
    env.step("click[b1]")
    env.step("click[red]")
    for action in ("click[description]", "click[< prev]"):
        env.step(action)
    assert env.snapshot().session.options == {"color": "red"}
    for action in (*way, "click[b1]"):
        env.step(action)
    assert env.snapshot().session.options == {}


def test_of_equal_values_only_the_last_group_is_reached(shop: ShopMaker) -> None:
    options = {"Cup": values("red", "white"), "Plate": values("red", "green")}
    env = opened(shop(item("B1", customization_options=options)))
    step = env.step("click[b1]")
    assert step.admissible[-3:] == ("click[red]", "click[white]", "click[green]")
    env.step("click[red]")
    assert env.snapshot().session.options == {"plate": "red"}


def test_paging_goes_on_past_the_last_hit(shop: ShopMaker) -> None:
    env = opened(shop(*(item(f"B{number:02d}") for number in range(12))), max_steps=50)
    second = env.step("click[next >]")
    assert second.admissible == tuple(f"click[{name}]" for name in ("back to search", "< prev", "next >", "b10", "b11"))
    third = env.step("click[next >]")
    assert third.admissible == ("click[back to search]", "click[< prev]", "click[next >]")
    assert env.step("click[< prev]").observation == second.observation


@pytest.mark.parametrize(
    ("pricing", "shown"),
    [
        ("", "$100.0"),
        (None, "$100.0"),
        ("$1,234.50", "$1234.5"),
        ("$5.00 - $7.25", "$5.0 to $7.25"),
        ("$3.00$4.00$5.00", "$3.0 to $4.0"),
    ],
)
def test_prices_are_read_as_the_original_reads_them(shop: ShopMaker, pricing: str | None, shown: str) -> None:
    env = opened(shop(item("B1", pricing=pricing)))
    assert f"Price: {shown} [SEP]" in env.step("click[b1]").observation


def test_products_with_a_bad_or_repeated_asin_are_left_out(shop: ShopMaker) -> None:
    env = opened(shop(item("nan"), item("B1"), item("B1", "Second mug"), item("B1234567890")))
    assert env.snapshot().last.admissible == ("click[back to search]", "click[next >]", "click[b1]")
    assert "Alder mug" in env.snapshot().last.observation


def test_the_state_key_tells_what_the_text_does_not(shop: ShopMaker) -> None:
    folder = shop(item("B1"))
    for anchor, differ in (("state", True), ("observation", False)):
        env = opened(folder, anchor=anchor)
        plain, chosen = env.step("click[b1]"), env.step("click[red]")
        assert plain.observation == chosen.observation
        assert (plain.state_key != chosen.state_key) is differ


@pytest.mark.parametrize("then", [(), ("click[description]",), ("click[red]",)])
def test_the_state_key_does_not_depend_on_the_order_in_which_options_were_chosen(
    shop: ShopMaker, then: tuple[str, ...]
) -> None:
    folder = shop(item("B1"))
    ends = []
    for chosen in (("click[red]", "click[small]"), ("click[small]", "click[red]")):
        env = opened(folder)
        for action in ("click[b1]", *chosen, *then):
            last = env.step(action)
        ends.append((last.observation, last.state_key))
    assert ends[0] == ends[1]


def test_a_snapshot_goes_on_in_another_instance_exactly_as_the_episode_did() -> None:
    env = WebShop(shop_size=60)
    env.reset("goal-3")
    for action, _ in zip(env.expert(), range(3), strict=False):
        env.step(action)
    saved = pickle.loads(pickle.dumps(env.snapshot()))
    ahead = [env.step(action) for action in env.expert()]
    other = WebShop(shop_size=60)
    assert other.restore(saved) == saved.last
    assert [other.step(action) for action in other.expert()] == ahead
    assert ahead[-1].won
    env.restore(saved)
    assert env.snapshot() == saved


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation_mode": "txt"}, "no observation_mode='txt'; choose one of 'text', 'text_rich', 'url'"),
        ({"anchor": "x"}, "no anchor='x'; choose one of 'state', 'observation'"),
        ({"max_steps": 0}, "max_steps=0; give 1 or more"),
        ({"goals": "x"}, "no goals='x'; choose 'synthetic' or 'human'"),
        ({"split": "x"}, "no split='x'; choose one of 'by_goal', 'by_product', 'verl_agent'"),
        ({"shop_size": 5}, "shop of 5 products; give 20 to 100000"),
        ({"shop_size": 30, "split": "verl_agent"}, "holds out 500 goals and there are"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        make("webshop", **options).tasks("train")


@pytest.mark.parametrize("task", ["goal-", "goal-x", "goal-01", "goal-99999", "goal--1", "3", "goal-３"])
def test_only_ids_of_goals_are_tasks(task: str) -> None:
    with pytest.raises(EnvError, match="is no goal of"):
        WebShop(shop_size=60).reset(task)


@pytest.mark.parametrize("rule", ["by_goal", "by_product"])
def test_splits_share_no_goal_and_by_product_no_product(rule: str) -> None:
    env = WebShop(split=rule)
    train, validation = env.tasks("train"), env.tasks("validation")
    assert not set(train) & set(validation)
    assert len(validation) == min(500, (len(train) + len(validation)) // 4) or rule == "by_product"
    asked = [{env.goal(task).product for task in side} for side in (train, validation)]
    assert bool(asked[0] & asked[1]) is (rule == "by_goal")


def test_prompts_name_the_actions_and_read_them(shop: ShopMaker) -> None:
    env = WebShop(data=shop(item("B1", customization_options="")))
    first = env.reset("goal-0")
    react, bare = WORLDS["webshop"].prompter("react"), WORLDS["webshop"].prompter("bare")
    (message,) = react.render(first=first, turns=(), now=first, history=2)
    assert "click[buy now], which ends the task.\n\nWebShop [SEP] Instruction:" in message.content
    assert "Admissible actions: 'search[<query>]', 'click[search]'.\n\n" in message.content
    said = "<think>so</think><action>Click[B1]</action>"
    assert react.parse(said, first) == Reply(action="click[b1]", valid=True)
    assert bare.render(first=first, turns=(), now=first, history=2) == (
        Message(role="user", content=first.observation),
    )
    for line, valid in (("search[red mug]", True), ("click[< prev]", True), ("buy now", False), ("look[x]", False)):
        assert bare.parse(line, first) == Reply(action=line, valid=valid)


def test_milestones_are_the_phases_of_a_purchase_that_fits(shop: ShopMaker) -> None:
    env = WebShop(data=shop(item("B000000001"), item("B000000002", pricing="$990.00")))
    first = env.reset(next(task for task in env.tasks("train") if env.goal(task).asin == "B000000001"))
    goal = env.goal(env.snapshot().task_id)
    chosen = [f"click[{option[1].strip().lower()}]" for option in goal.options]
    reached = [env.step(action).milestone for action in ("search[mug]", "click[b000000001]", *chosen)]
    assert (first.milestone, reached) == (0, [1, 2, 2, 3])
    assert env.step("click[back to search]").milestone == 3
    for action in ("search[mug]", "click[b000000001]", *chosen):
        env.step(action)
    assert env.step("click[buy now]").milestone == 4


def test_a_product_above_the_cap_is_no_milestone(shop: ShopMaker) -> None:
    env = WebShop(data=shop(item("B000000001"), item("B000000002", pricing="$990.00")))
    env.reset(next(task for task in env.tasks("train") if env.goal(task).asin == "B000000001"))
    assert [env.step(action).milestone for action in ("search[mug]", "click[b000000002]")] == [1, 1]
