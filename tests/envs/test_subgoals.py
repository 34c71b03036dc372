"""Sub-goals in prompts and answers."""

import pytest

from envs import WORLDS
from envs.base import EnvStep
from envs.prompts import Reply, Turn
from envs.prompts.subgoals import says_switch, subgoal, switches

FIRST = EnvStep(observation="Goal: craft stick.", state_key="0")
STYLE = WORLDS["textcraft"].prompter("subgoals")


def turn(response: str) -> Turn:
    return Turn(observation="o", response=response, action="get 1 log")


@pytest.mark.parametrize(
    ("response", "says"),
    [
        ("<think>x</think><switch>SWITCH</switch>", True),
        ("<think><switch>SWITCH</switch></think><switch>KEEP</switch>", False),
        ("<think>x</think><switch>perhaps</switch>", False),
        ("<think>x</think>", False),
    ],
)
def test_an_answer_switches_only_if_it_says_so_outside_its_thought(response: str, says: bool) -> None:
    assert says_switch(response) is says


def test_the_sub_goal_in_force_is_the_last_that_was_chosen() -> None:
    first, kept = turn("<switch>KEEP</switch><subgoal>get\nlogs</subgoal>"), turn("<subgoal>rest</subgoal>")
    other = turn("<switch>SWITCH</switch><subgoal>make planks</subgoal>")
    turns = [turn("no goal"), first, kept, other, kept]
    assert [subgoal(turns[:count]) for count in range(6)] == [
        None,
        None,
        "get logs",
        "get logs",
        "make planks",
        "make planks",
    ]


def test_an_answer_switches_where_the_sub_goal_that_prompts_show_changes() -> None:
    answers = [
        "<switch>KEEP</switch>",
        "<switch>KEEP</switch><subgoal>get logs</subgoal>",  # the first that is written is chosen
        "<switch>SWITCH</switch>",  # names none
        "<switch>SWITCH</switch><subgoal>get  logs</subgoal>",  # the same again
        "<switch>KEEP</switch><subgoal>make planks</subgoal>",  # keeps
        "<switch>SWITCH</switch><subgoal>make planks</subgoal>",
    ]
    assert switches(answers) == [False, True, False, False, False, True]
    shown = [subgoal([turn(answer) for answer in answers[:count]]) for count in range(len(answers) + 1)]
    assert switches(answers) == [shown[at] != shown[at + 1] for at in range(len(answers))]


def test_a_prompt_shows_the_sub_goal_in_force_and_asks_for_the_next() -> None:
    (blank,) = STYLE.render(first=FIRST, turns=(), now=FIRST, history=2)
    (later,) = STYLE.render(first=FIRST, turns=[turn("<subgoal>get logs</subgoal>")], now=FIRST, history=0)
    assert "Your sub-goal: none yet" in blank.content
    assert "Your sub-goal: get logs" in later.content
    assert "KEEP or SWITCH" in later.content


def test_no_other_style_asks_for_sub_goals() -> None:
    (message,) = WORLDS["textcraft"].prompter("react").render(first=FIRST, turns=(), now=FIRST, history=2)
    assert "sub-goal" not in message.content


def test_the_action_is_read_behind_the_sub_goal_and_an_experts_answer_is_valid() -> None:
    answer = "<think>x</think><switch>SWITCH</switch><subgoal>s</subgoal><action>get 1 oak log</action>"
    assert STYLE.parse(answer, FIRST) == Reply(action="get 1 oak log", valid=True)
    assert STYLE.parse(STYLE.respond("get 1 oak log"), FIRST) == Reply(action="get 1 oak log", valid=True)
