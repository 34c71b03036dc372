"""The prompt styles: prompts compared exactly, and how answers are parsed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs import WORLDS, EnvError, EnvStep, find
from envs.prompts import Bare, Dialect, Message, React, Reply, Turn


def seen(text: str, admissible: tuple[str, ...] | None = None) -> EnvStep:
    return EnvStep(observation=text, state_key=text, admissible=admissible)


FIRST = seen("Crafting commands:\ncraft 2 rope using 3 hemp\n\nGoal: craft rope.")
TURNS = (
    Turn(observation=FIRST.observation, response="<think>a</think><action>inventory</action>", action="inventory"),
    Turn(observation="Inventory: You are not carrying anything.", response="get 'it'", action="get 'it'"),
    Turn(observation="Could not execute get 'it'", response="get 3 hemp", action="get 3 hemp"),
)
NOW = seen("Got 3 hemp")

INTRODUCTION = """\
You craft items in a text world. Its commands are:
get N ITEM: fetch an item that no command crafts.
craft N ITEM using N ITEM, N ITEM: carry out one of the crafting commands listed below, with exactly its counts. \
Where it names a kind, such as planks, use one item of that kind.
inventory: list what you hold.

Crafting commands:
craft 2 rope using 3 hemp

Goal: craft rope.
"""
REQUEST = """
Reason step by step about what to do next, inside <think> </think>. \
Then give exactly one action, inside <action> </action>."""


def react(turns: tuple[Turn, ...], now: EnvStep, history: int) -> str:
    (message,) = WORLDS["textcraft"].prompter("react").render(first=FIRST, turns=turns, now=now, history=history)
    assert message.role == "user"
    return message.content


def test_react_at_the_first_step() -> None:
    assert react((), FIRST, 2) == f"{INTRODUCTION}\nYou are at step 1.\n{REQUEST}"


def test_react_with_a_history_of_2() -> None:
    expected = f"""{INTRODUCTION}
You have taken 3 steps. The last 2:
Step 2. You saw: 'Inventory: You are not carrying anything.'. You did: "get 'it'".
Step 3. You saw: "Could not execute get 'it'". You did: 'get 3 hemp'.

You are at step 4 and see:
Got 3 hemp
{REQUEST}"""
    assert react(TURNS, NOW, 2) == expected


def test_react_with_a_history_of_everything_does_not_repeat_the_task() -> None:
    assert "Step 1. You saw: 'the task'. You did: 'inventory'.\n" in react(TURNS, NOW, 99)
    assert react(TURNS, NOW, 99).count("Goal:") == 1


def test_react_without_history() -> None:
    expected = f"{INTRODUCTION}\nYou have taken 3 steps.\n\nYou are at step 4 and see:\nGot 3 hemp\n{REQUEST}"
    assert react(TURNS, NOW, 0) == expected


def test_react_quotes_the_admissible_actions_of_worlds_that_list_them() -> None:
    now = seen("You see a mug 1.", admissible=("take mug 1 from desk 1", "look"))
    assert "\n\nAdmissible actions: 'take mug 1 from desk 1', 'look'.\n\n" in react(TURNS, now, 2)


@pytest.mark.parametrize(
    ("most", "line"),
    [
        (5, "Admissible actions: 'go to bed 1', 'go to bed 2', 'go to bed 3', 'look', 'take mug 1 from bed 1'."),
        (4, "Admissible actions: 'go to bed 1', 'go to bed 2', 'look', 'take mug 1 from bed 1' and 1 more."),
        (3, "Admissible actions: 'go to bed 1', 'look', 'take mug 1 from bed 1' and 2 more."),
        (1, "Admissible actions: 'go to bed 1' and 4 more."),
        (0, "Admissible actions: 5, not listed."),
    ],
)
def test_react_says_how_many_actions_it_omits_and_keeps_some_of_every_verb(most: int, line: str) -> None:
    beds = tuple(f"go to bed {number}" for number in (1, 2, 3))
    now = seen("", admissible=("help", *beds, "look", "take mug 1 from bed 1"))
    (message,) = WORLDS["alfworld"].prompter("react").render(first=FIRST, turns=TURNS, now=now, history=2, actions=most)
    assert f"\n\n{line}\n\n" in message.content


def test_of_a_shops_page_the_buttons_stay_longest() -> None:
    now = seen("", admissible=tuple(f"click[{name}]" for name in ("back to search", "buy now", "red", "blue")))
    (message,) = WORLDS["webshop"].prompter("react").render(first=FIRST, turns=TURNS, now=now, history=2, actions=2)
    assert "Admissible actions: 'click[back to search]', 'click[buy now]' and 2 more." in message.content


@given(st.lists(st.text(max_size=6), max_size=5, unique=True), st.integers(0, 6))
def test_as_many_actions_are_listed_as_asked_for_in_the_worlds_order(actions: list[str], most: int) -> None:
    react = React(Dialect(introduction="", grammar=bool))
    lines = [
        react.render(first=FIRST, turns=(), now=seen("", admissible=tuple(part)), history=0, actions=None)[0].content
        for part in itertools.combinations(actions, min(most, len(actions)))
    ]
    cut = react.render(first=FIRST, turns=(), now=seen("", admissible=tuple(actions)), history=0, actions=most)[0]
    if most >= len(actions):
        assert [cut.content] == lines
    elif most > 0:
        assert cut.content.replace(f" and {len(actions) - most} more.", ".") in lines


@pytest.mark.parametrize(
    ("response", "action", "valid"),
    [
        ("<think>so</think><action> get 1 Hemp </action>", "get 1 Hemp", True),
        ("<think>a\nb</think>\n<action>\nget 1 hemp\n</action> done", "get 1 hemp", True),
        ("<action>get 1 a</action><think></think><action>get 1 b</action>", "get 1 a", True),
        ("<think>never <action> </action></think><action>get 1 copper</action>", "get 1 copper", True),
        ("<think>a</think><think><action>get 1 a</action></think><action>get 1 b</action>", "get 1 b", True),
        ("<think></think>an <action> then <action>get 1 hemp</action>", "get 1 hemp", True),
        ("<think>so</think><action>get 1 hemp\nget 1 hemp</action>", "get 1 hemp\nget 1 hemp", False),
        ("<think>so</think><action>dig</action>", "dig", False),
        ("<think></think><action></action>", "", False),
        ("<think>so <action>get 1 hemp</action>", "so <action>get 1 hemp</action>", False),
        ("<action>get 1 hemp</action>", "get 1 hemp", False),
        ("</think>so<think><action>get 1 hemp</action>", "nk><action>get 1 hemp</action>", False),
        ("<think>好</think><action>get 1 hemp</action>", "get 1 hemp", False),
        ("<think>\u4dff \ua000</think><action>get 1 hemp</action>", "get 1 hemp", True),
        ("<think>so so</think> get 1 hemp", "think>so so</think> get 1 hemp", False),
        ("<think>so</think><action>get 1 hemp", "k>so</think><action>get 1 hemp", False),
        ("x" * 50, "x" * 30, False),
        ("", "", False),
    ],
)
def test_react_reads_the_first_action_and_asks_for_both_pairs_of_tags(response: str, action: str, valid: bool) -> None:
    assert WORLDS["textcraft"].prompter("react").parse(response, NOW) == Reply(action=action, valid=valid)


@pytest.mark.parametrize(
    ("response", "action", "valid"),
    [
        ("<think>never <action> </action></think><action>get 1 copper</action>", "", True),
        ("<action>dig</action><think></think>", "dig", True),
        ("<think>so so</think> get 1 hemp", "think>so so</think> get 1 hemp", False),
    ],
)
def test_the_papers_looser_rule_is_kept_as_a_style(response: str, action: str, valid: bool) -> None:
    assert WORLDS["textcraft"].prompter("react_loose").parse(response, NOW) == Reply(action=action, valid=valid)


@pytest.mark.parametrize("style", ["react", "react_loose"])
def test_an_action_that_may_be_cut_is_not_played(style: str) -> None:
    prompts = WORLDS["textcraft"].prompter(style)
    assert prompts.parse("get 1 hemp", NOW, truncated=True) == Reply(action="", valid=False)


def test_plain_prompting_is_reacts_message_without_the_request_to_think() -> None:
    act, react = (WORLDS["textcraft"].prompter(style) for style in ("act", "react"))
    (plain,), (thinking,) = (one.render(first=FIRST, turns=TURNS, now=NOW, history=2) for one in (act, react))
    request = "Reason step by step about what to do next, inside <think> </think>. Then give"
    assert plain.content == thinking.content.replace(request, "Give")
    assert act.respond("get 1 hemp") == "<action>get 1 hemp</action>"


@pytest.mark.parametrize(
    ("response", "action", "valid"),
    [
        ("<action>get 1 hemp</action>", "get 1 hemp", True),
        ("I go on: <action>get 1 hemp</action>", "get 1 hemp", True),
        ("<think>or <action>get 1 a</action>?</think><action>get 1 b</action>", "get 1 b", True),
        ("<action>dig</action>", "dig", False),
        ("get 1 hemp", "get 1 hemp", False),
    ],
)
def test_plain_prompting_asks_for_no_thought(response: str, action: str, valid: bool) -> None:
    assert WORLDS["textcraft"].prompter("act").parse(response, NOW) == Reply(action=action, valid=valid)


@pytest.mark.parametrize("world", WORLDS)
def test_in_no_world_an_empty_action_is_valid(world: str) -> None:
    assert not WORLDS[world].prompter("react").parse("<think></think><action> </action>", NOW).valid


@pytest.mark.parametrize("world", sorted(set(WORLDS) - {"reasoning_gym"}))  # whose answers may have any form
def test_in_no_world_an_ungrammatical_action_is_valid(world: str) -> None:
    assert not WORLDS[world].prompter("react").parse("<think></think><action>%$&</action>", NOW).valid


@pytest.mark.parametrize(
    ("style", "response", "reply"),
    [
        ("bare", "get 1 hemp", Reply(action="", valid=False)),
        ("react", "get 1 hemp", Reply(action="", valid=False)),
        ("react", "<think>so</think><action>get 1 hem", Reply(action="", valid=False)),
        ("react", "<think>so</think><action>get 1 hemp</action> and", Reply(action="get 1 hemp", valid=True)),
    ],
)
def test_an_action_that_may_be_cut_is_no_action(style: str, response: str, reply: Reply) -> None:
    assert WORLDS["textcraft"].prompter(style).parse(response, NOW, truncated=True) == reply


def test_bare_takes_the_command_after_the_thought_of_a_model_that_always_thinks() -> None:
    bare = WORLDS["textcraft"].prompter("bare")
    assert bare.parse("<think>get 2 hemp?</think>\n\nget 1 hemp", NOW) == Reply(action="get 1 hemp", valid=True)
    assert bare.parse("<think>get 2 hemp", NOW) == Reply(action="", valid=False)


def test_only_a_lower_case_dialect_lowers_the_action() -> None:
    assert not WORLDS["textcraft"].dialect.lower_case
    lowering = React(Dialect(introduction="", grammar=bool, lower_case=True))
    assert lowering.parse("<think></think><action>Go To Desk 1</action>", NOW).action == "go to desk 1"


def test_bare_is_the_dialogue_itself() -> None:
    assert WORLDS["textcraft"].prompter("bare").render(first=FIRST, turns=TURNS, now=NOW, history=99) == (
        Message(role="user", content=FIRST.observation),
        Message(role="assistant", content="<think>a</think><action>inventory</action>"),
        Message(role="user", content="Inventory: You are not carrying anything."),
        Message(role="assistant", content="get 'it'"),
        Message(role="user", content="Could not execute get 'it'"),
        Message(role="assistant", content="get 3 hemp"),
        Message(role="user", content="Got 3 hemp"),
    )


def test_bare_with_a_short_history_keeps_the_task_and_the_last_turns() -> None:
    assert WORLDS["textcraft"].prompter("bare").render(first=FIRST, turns=TURNS, now=NOW, history=1) == (
        Message(role="user", content=FIRST.observation),
        Message(role="assistant", content="get 3 hemp"),
        Message(role="user", content="Got 3 hemp"),
    )


def test_bare_without_history_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot show history=0 turns; give 1 or more"):
        WORLDS["textcraft"].prompter("bare").render(first=FIRST, turns=TURNS, now=NOW, history=0)


LISTED = WORLDS["alfworld"].prompter("bare_listed")
ROOM = seen("Your task is to: put mug in desk.", ("go to desk 1", "help", "inventory"))
AT_DESK = seen("You see a mug 1.", ("go to bed 1", "go to bed 2", "help", "take mug 1 from desk 1"))
WENT = Turn(observation=ROOM.observation, response="go to desk 1", action="go to desk 1", listed=LISTED.listed(ROOM))


def listed_dialogue(turns: tuple[Turn, ...], now: EnvStep, history: int = 9, actions: int | None = None) -> list[str]:
    rendered = LISTED.render(first=ROOM, turns=turns, now=now, history=history, actions=actions)
    return [message.content for message in rendered]


def test_bare_listed_shows_below_each_observation_what_was_admissible_there() -> None:
    start = "Your task is to: put mug in desk.\n\ngo to desk 1\ninventory"
    assert listed_dialogue((), ROOM) == [start]
    assert listed_dialogue((WENT,), AT_DESK) == [
        start,
        "go to desk 1",
        "You see a mug 1.\n\ngo to bed 1\ngo to bed 2\ntake mug 1 from desk 1",
    ]


def test_bare_listed_drops_old_lists_with_their_turns_and_says_how_many_actions_it_omits() -> None:
    short = listed_dialogue((WENT, WENT), AT_DESK, history=1)
    assert short[0] == "Your task is to: put mug in desk."
    assert len(short) == 3
    assert listed_dialogue((WENT,), AT_DESK, actions=2)[-1] == (
        "You see a mug 1.\n\ngo to bed 1\ntake mug 1 from desk 1\nand 1 more"
    )
    assert listed_dialogue((WENT,), AT_DESK, actions=0)[-1] == "You see a mug 1.\n\nand 3 more"


def test_bare_listed_is_bare_where_a_world_lists_nothing() -> None:
    for style in ("bare", "bare_listed"):
        rendered = WORLDS["textcraft"].prompter(style).render(first=FIRST, turns=TURNS, now=NOW, history=99)
        assert [message.content for message in rendered[::2]] == [*(turn.observation for turn in TURNS), "Got 3 hemp"]


@given(st.lists(st.tuples(st.text(), st.text()), max_size=6))
def test_bare_prompts_are_exact_extensions_while_the_history_covers_all_turns(said: list[tuple[str, str]]) -> None:
    bare: Bare = Bare(WORLDS["textcraft"].dialect)
    turns: tuple[Turn, ...] = ()
    now, before = FIRST, bare.render(first=FIRST, turns=(), now=FIRST, history=6)
    assert before == (Message(role="user", content=FIRST.observation),)
    for response, observation in said:
        turns += (Turn(observation=now.observation, response=response, action=response.strip()),)
        now = seen(observation)
        prompt = bare.render(first=FIRST, turns=turns, now=now, history=6)
        assert prompt == (
            *before,
            Message(role="assistant", content=response),
            Message(role="user", content=observation),
        )
        before = prompt


ARITHMETIC = """\
You answer a question in one turn. Your action is the answer and nothing else: a number such as 42 or -7, or an \
expression in LaTeX where no number is the answer. It has no words and no units.

Compute 2 * (3 + 4).

You are at step 1.

Reason step by step about what to do next, inside <think> </think>. \
Then give exactly one action, inside <action> </action>."""


def test_arithmetic_is_asked_in_one_message() -> None:
    now = seen("Compute 2 * (3 + 4).")
    react, bare = (WORLDS["arithmetic"].prompter(style) for style in ("react", "bare"))
    assert react.render(first=now, turns=(), now=now, history=2) == (Message(role="user", content=ARITHMETIC),)
    assert bare.render(first=now, turns=(), now=now, history=1) == (Message(role="user", content=now.observation),)


@pytest.mark.parametrize(
    ("style", "response", "action", "valid"),
    [
        ("react", "<think>3 + 4 is 7</think><action> 14 </action>", "14", True),
        ("react", "<think>3 + 4 is 7</think><action>It is 14.</action>", "It is 14.", True),  # no word of three letters
        ("react", "<think>3 + 4 is 7</think><action>The answer is 14</action>", "The answer is 14", False),
        ("react", "<think>3 + 4 is 7</think> 14", "<think>3 + 4 is 7</think> 14", False),
        ("bare", " 14\n", "14", True),
        ("bare", "3 + 4 = 7\n14", "3 + 4 = 7\n14", False),
        ("bare", "fourteen", "fourteen", False),
    ],
)
def test_an_answer_is_the_whole_action(style: str, response: str, action: str, valid: bool) -> None:
    assert WORLDS["arithmetic"].prompter(style).parse(response, NOW) == Reply(action=action, valid=valid)


@pytest.mark.parametrize(
    ("response", "action", "valid"),
    [
        (" get 1 Hemp\n", "get 1 Hemp", True),
        ("craft rope using 3 hemp", "craft rope using 3 hemp", True),
        ("get 1 hemp\nget 1 hemp", "get 1 hemp\nget 1 hemp", False),
        ("craft rope using hemp", "craft rope using hemp", False),
        ("think: get", "think: get", False),
        ("", "", False),
    ],
)
def test_bare_asks_for_one_line_of_the_worlds_grammar(response: str, action: str, valid: bool) -> None:
    assert WORLDS["textcraft"].prompter("bare").parse(response, NOW) == Reply(action=action, valid=valid)


@pytest.mark.parametrize(
    ("world", "style", "message"),
    [
        ("textcraf", "bare", "there is no world 'textcraf'; did you mean 'textcraft'?"),
        ("textcraft", "reakt", "there is no prompt style 'reakt'; did you mean 'react'?"),
        (
            "textcraft",
            "xyz",
            "there is no prompt style 'xyz'; choose one of act, bare, bare_listed, react, react_loose, subgoals",
        ),
    ],
)
def test_an_unknown_world_or_style_is_refused_with_the_nearest_right_one(world: str, style: str, message: str) -> None:
    with pytest.raises(EnvError) as refusal:
        find(world).prompter(style)
    assert str(refusal.value) == message
