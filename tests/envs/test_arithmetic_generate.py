"""Generated problems: right answers, the promised depth, no count below one, no validation problem in training."""

import ast
import operator
import random
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs import EnvError, make
from envs.arithmetic.expression import draw, operation, value, written
from envs.arithmetic.story import LONGEST, Story, tell
from envs.held_out import is_held_out

SEEDS = st.integers(0, 2**32)
DEPTHS = st.integers(1, LONGEST)
LARGEST = st.sampled_from([10, 20, 99])
SIGNS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
# What a sentence does to the count of a story's main person.
HAPPENS = {
    r"\w+ buys (\d+) more|\w+ gives \w+ (\d+) more|\w+ finds (\d+) more in a drawer": operator.add,
    r"\w+ gives (\d+) of them to \w+|\w+ sells (\d+) of them|\w+ loses (\d+) of them": operator.sub,
    r"A month later \w+ has (\d+) times as many|\w+ trades them for (\d+) times as many": operator.mul,
    r"\w+ makes (\d+) equal heaps of them, keeps one heap and gives \w+ the rest": operator.truediv,
    r"(?P<who>\w+) shares them out evenly among (\d+) people, (?P=who) being one of them": operator.truediv,
    r"At the (?:first|next) stop (\d+) people get on": operator.add,
    r"At the (?:first|next) stop (\d+) people get off": operator.sub,
    r"Everybody on the bus carries (\d+) \w+": operator.mul,
}


def computed(text: str) -> list[Fraction]:
    """The values of all operations of an expression, outermost first, by Python's parser and exact fractions."""

    def visit(node: ast.expr) -> tuple[Fraction, list[Fraction]]:
        if isinstance(node, ast.Constant):
            return Fraction(str(node.value)), []
        assert isinstance(node, ast.BinOp)
        (left, before), (right, after) = visit(node.left), visit(node.right)
        now = SIGNS[type(node.op)](left, right)
        return now, [now, *before, *after]

    return visit(ast.parse(text, mode="eval").body)[1]


def understood(text: str) -> Fraction:
    """The answer to a story, computed from its sentences."""
    *told, question = re.split(r"(?<=\.) ", text)
    if told[0].startswith("A shop sells"):
        return shopped(told[0], told[1], question)
    if " does " in question and question.endswith(" have?"):
        return compared(told)[re.findall(r"does (\w+) have", question)[0]]
    count = Fraction(re.findall(r"\d+", told[0])[0])
    for sentence in told[1:]:
        ((n, change),) = [
            (re.findall(r"\d+", sentence)[0], change)
            for pattern, change in HAPPENS.items()
            if re.fullmatch(pattern, sentence.removesuffix("."))
        ]
        count = change(count, Fraction(n))
    return count


def shopped(offers: str, bought: str, question: str) -> Fraction:
    prices = {thing: int(price) for thing, price in re.findall(r"(\w+) for (\d+) coins each", offers)}
    bought, _, purse = bought.partition(", and had ")
    counts = {thing: int(count) for count, thing in re.findall(r"(\d+) (\w+)", bought)}
    assert counts.keys() == prices.keys()
    paid = sum(counts[thing] * prices[thing] for thing in prices)
    assert question.endswith(" have left?" if purse else " pay?")
    return Fraction(int(purse.split()[0]) - paid if purse else paid)


def compared(told: list[str]) -> dict[str, Fraction]:
    """How many each person has."""
    ((name, n),) = re.findall(r"^(\w+) has (\d+) \w+\.$", told[0])
    have = {name: Fraction(n)}
    for sentence in told[1:]:
        ((one, n, how, other),) = re.findall(
            r"^(\w+) has (\d+) (more|fewer|times as many) \w+ (?:than|as) (\w+)\.$", sentence
        )
        if how == "times as many":
            have |= {one: have[other] * int(n)} if other in have else {other: have[one] / int(n)}
        else:
            have[one] = have[other] + (int(n) if how == "more" else -int(n))
    return have


@given(SEEDS, DEPTHS, LARGEST)
def test_an_expression_has_the_value_an_independent_evaluator_finds(seed: int, depth: int, largest: int) -> None:
    drawn = draw(random.Random(seed), depth, largest)
    values = computed(written(drawn))
    assert values[0] == value(drawn)
    assert len(values) == depth
    assert all(fraction.denominator == 1 and abs(fraction) <= largest**2 for fraction in values)
    assert all(1 <= int(word) <= largest for word in re.findall(r"\d+", written(drawn)))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (operation("-", 9, operation("-", 4, 1)), "9 - (4 - 1)"),
        (operation("-", operation("-", 9, 4), 1), "9 - 4 - 1"),
        (operation("+", operation("*", 2, 3), operation("/", 8, 4)), "2 * 3 + 8 / 4"),
        (operation("*", operation("+", 2, 3), operation("-", 8, 4)), "(2 + 3) * (8 - 4)"),
        (operation("/", operation("*", 6, 4), operation("*", 2, 3)), "6 * 4 / (2 * 3)"),
    ],
)
def test_brackets_stand_where_the_order_of_operations_needs_them(expression, text: str) -> None:
    assert written(expression) == text
    assert computed(text)[0] == value(expression)


@pytest.mark.parametrize(("left", "right"), [(7, 2), (7, 0)])
def test_a_division_that_leaves_a_rest_is_no_operation(left: int, right: int) -> None:
    with pytest.raises(ValueError, match=f"{left} / {right} is no integer operation"):
        operation("/", left, right)


@given(SEEDS, DEPTHS, LARGEST)
def test_a_storys_sentences_give_its_answer_and_its_depth_and_no_count_falls_below_one(
    seed: int, depth: int, largest: int
) -> None:
    story: Story = tell(random.Random(seed), depth, largest)
    values = computed(written(story.computation))
    assert values[0] == value(story.computation)
    assert len(values) == depth
    assert all(fraction.denominator == 1 and fraction >= 1 for fraction in values)
    assert understood(story.text) == values[0]


@pytest.mark.parametrize("depth", range(1, LONGEST + 1))
def test_every_operation_occurs_at_every_depth(depth: int) -> None:
    rng = random.Random(depth)
    drawn = {draw(rng, depth, 20).sign for _ in range(200)}
    told = "".join(written(tell(rng, depth, 20).computation) for _ in range(200))
    assert drawn == set("+-*/") == set("+-*/") & set(told)


def test_a_sentence_names_no_count_of_one() -> None:
    texts = [tell(random.Random(seed), depth, 20).text for depth in range(1, LONGEST + 1) for seed in range(200)]
    assert [text for text in texts if re.search(r"\b[01]\b", text)] == []


# --- the splits ---------------------------------------------------------------------------------------------------


def test_no_computation_of_validation_is_trained_on_whatever_the_seed() -> None:
    questions = {"train": set[str](), "validation": set[str]()}
    for seed in (0, 1):
        env = make("arithmetic", seed=seed, forms=("expression",), depths=(1, 2), train=400, validation=60)
        for split, texts in questions.items():
            texts |= {env.reset(task).observation for task in env.tasks(split)}
    assert not questions["train"] & questions["validation"]
    assert {split: {is_held_out(text[8:-1]) for text in texts} for split, texts in questions.items()} == {
        "train": {False},
        "validation": {True},
    }


def test_a_split_asks_nothing_twice_and_covers_every_depth_and_form_evenly() -> None:
    env = make("arithmetic", train=30, validation=10, depths=(1, 3))
    for split, count in (("train", 30), ("validation", 10)):
        tasks = env.tasks(split)
        questions = [env.reset(task).observation for task in tasks]
        assert len(set(questions)) == len(questions) == 4 * count
        assert sum(question.startswith("Compute ") for question in questions) == 2 * count
        by_depth = {depth: tuple(task for task in tasks if env.kind(task) == f"depth {depth}") for depth in (1, 3)}
        assert {depth: len(task_ids) for depth, task_ids in by_depth.items()} == {1: 2 * count, 3: 2 * count}
        assert all(env.tasks(f"{split}_depth{depth}") == task_ids for depth, task_ids in by_depth.items())
        for part in (tasks[:20], tasks[::2], tasks[::4]):  # what a tokenizer or a short validation sees of it
            assert len({task.rpartition("-")[0] for task in part}) == 4


def test_a_larger_set_contains_the_smaller_one_and_other_seeds_give_other_questions() -> None:
    small, large, other = (make("arithmetic", train=n, seed=seed) for n, seed in ((5, 0), (9, 0), (5, 1)))
    assert set(small.tasks("train")) < set(large.tasks("train"))
    questions = [[env.reset(task).observation for task in small.tasks("train")] for env in (small, large, other)]
    assert questions[0] == questions[1]
    assert len(set(questions[0]) & set(questions[2])) < len(questions[0]) / 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": ()}, "arithmetic cannot run with depths=[]; give one or more, each once"),
        ({"depths": (1, 1)}, "arithmetic cannot run with depths=[1, 1]; give one or more, each once"),
        ({"depths": (9,)}, "arithmetic has no problems of depth 9; choose from 1 to 8"),
        ({"forms": ("poem",)}, "arithmetic has no form 'poem'; choose from expression, story"),
        ({"largest": 9}, "arithmetic cannot run with largest=9; give 10 or more"),
        ({"train": 0}, "arithmetic cannot run with train=0; give 1 or more"),
        ({"validation": 0}, "arithmetic cannot run with validation=0; give 1 or more"),
        ({"held_out": "x"}, "arithmetic was given held_out='x' but no questions; give questions=FILE too"),
    ],
)
def test_an_option_out_of_range_is_refused(options: dict, message: str) -> None:
    with pytest.raises(EnvError) as refusal:
        make("arithmetic", **options)
    assert str(refusal.value) == message


def test_more_problems_than_there_are_are_refused_with_how_many_there_are() -> None:
    with pytest.raises(
        EnvError,
        match=r"finds \d+ problems of form 'expression' and depth 1 with largest=10, not train=900; "
        "lower train, or raise largest",
    ):
        make("arithmetic", largest=10, depths=(1,), train=900)
