"""ALFWorld's prompts, compared exactly, and which answers are valid."""

import pytest

from envs import WORLDS, EnvStep
from envs.alfworld import ALFWorld
from envs.alfworld.prompt import is_command
from envs.prompts import Message, Reply, Turn

FIRST = EnvStep(
    observation="-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, "
    "you see a desk 1, and a drawer 1.\n\nYour task is to: put a mug in drawer.",
    state_key="",
    admissible=("go to desk 1", "go to drawer 1", "help", "inventory", "look"),
)
NOW = EnvStep(
    observation="You arrive at desk 1. On the desk 1, you see a mug 1.",
    state_key="",
    admissible=("examine desk 1", "go to drawer 1", "help", "take mug 1 from desk 1"),
)
TURNS = (
    Turn(observation=FIRST.observation, response="r", action="look"),
    Turn(observation="Nothing happens.", response="go to desk 1", action="go to desk 1"),
)
COMMANDS = """\
You do a task in a household, in text. Places and things are named by a word and a number. The commands are:
go to PLACE, open PLACE, close PLACE, examine PLACE or THING, look, inventory: move and see.
take THING from PLACE, move THING to PLACE: you can hold one thing at a time.
clean THING with PLACE, heat THING with PLACE, cool THING with PLACE: at a sinkbasin, a microwave, a fridge.
use THING: switch on a lamp. slice THING with THING: holding a knife.
"""
REQUEST = (
    "Reason step by step about what to do next, inside <think> </think>. "
    "Then give exactly one action, inside <action> </action>."
)


def react(turns: tuple[Turn, ...], now: EnvStep) -> str:
    (message,) = WORLDS["alfworld"].prompter("react").render(first=FIRST, turns=turns, now=now, history=2)
    return message.content


def test_react_at_the_first_step_lists_all_admissible_actions_but_help() -> None:
    assert (
        react((), FIRST)
        == f"""{COMMANDS}
{FIRST.observation}

You are at step 1.

Admissible actions: 'go to desk 1', 'go to drawer 1', 'inventory', 'look'.

{REQUEST}"""
    )


def test_react_with_two_turns_behind_it() -> None:
    assert (
        react(TURNS, NOW)
        == f"""{COMMANDS}
{FIRST.observation}

You have taken 2 steps. The last 2:
Step 1. You saw: 'the task'. You did: 'look'.
Step 2. You saw: 'Nothing happens.'. You did: 'go to desk 1'.

You are at step 3 and see:
You arrive at desk 1. On the desk 1, you see a mug 1.

Admissible actions: 'examine desk 1', 'go to drawer 1', 'take mug 1 from desk 1'.

{REQUEST}"""
    )


def test_bare_is_the_dialogue_itself() -> None:
    assert WORLDS["alfworld"].prompter("bare").render(first=FIRST, turns=TURNS, now=NOW, history=9) == (
        Message(role="user", content=FIRST.observation),
        Message(role="assistant", content="r"),
        Message(role="user", content="Nothing happens."),
        Message(role="assistant", content="go to desk 1"),
        Message(role="user", content=NOW.observation),
    )


@pytest.mark.parametrize(
    ("action", "strict", "loose"),
    [
        ("take mug 1 from desk 1", True, True),
        ("Take Mug 1 from Desk 1", True, True),  # lower-cased, as in the papers
        ("help", True, True),  # not listed, but open
        ("take mug 2 from desk 1", False, True),
        ("", False, True),
    ],
)
def test_a_valid_action_is_admissible_unless_the_papers_looser_rule_is_chosen(
    action: str, strict: bool, loose: bool
) -> None:
    response = f"<think>so</think><action>{action}</action>"
    for style, valid in (("react", strict), ("react_loose", loose)):
        assert WORLDS["alfworld"].prompter(style).parse(response, NOW) == Reply(action=action.lower(), valid=valid)


@pytest.mark.parametrize("style", ["react", "react_loose"])
def test_an_admissible_action_without_its_tags_is_not_valid(style: str) -> None:
    for response in ("look", "<action>go to drawer 1</action>", "<think>对</think><action>go to drawer 1</action>"):
        assert not WORLDS["alfworld"].prompter(style).parse(response, NOW).valid


@pytest.mark.parametrize(
    ("response", "valid"),
    [("go to drawer 1\n", True), ("go to desk 1", False), ("go to drawer 1\nlook", False), ("fly", False)],
)
def test_bare_asks_for_one_line_that_is_admissible(response: str, valid: bool) -> None:
    assert WORLDS["alfworld"].prompter("bare").parse(response, NOW) == Reply(action=response.strip(), valid=valid)


def test_every_admissible_command_on_the_experts_way_matches_the_grammar() -> None:
    env = ALFWorld(households={"train": 24, "held_out": 1})
    for task in env.tasks("train"):
        now = env.reset(task)
        for action in env.expert():
            assert all(map(is_command, now.admissible or ()))
            now = env.step(action)


@pytest.mark.parametrize("line", ["put mug 1 in/on desk 1", "slice apple 1 with knife 2", "help"])
def test_older_wording_and_rarer_commands_are_commands(line: str) -> None:
    assert is_command(line)


@pytest.mark.parametrize(
    "line", ["go to desk", "Go to desk 1", "take mug 1", "move mug 1", "look around", "go to desk 1 now"]
)
def test_other_lines_are_not(line: str) -> None:
    assert not is_command(line)
