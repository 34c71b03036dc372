"""Prompts that are too long: what is left out of them, and what is counted."""

from dataclasses import replace

import pytest

from envs.base import EnvStep
from envs.prompts import Dialect, React, Turn
from rollout.policy import Key
from tests.fakes import CharCodec, Corridor, LocalPool, ScriptedPolicy
from tests.rollout.test_collect import collected

FULL = "corridor 100 of length 3\nwait\0wait?\nwait\0wait?\n"  # the third turn's prompt with all history, 49 tokens
ONE_TURN = "corridor 100 of length 3\nwait\0wait?\n"


def prompts(policy: ScriptedPolicy, time: int) -> list[str]:
    return [
        "".join(map(chr, CharCodec().encode(request.messages))) for request in policy.asked if request.key[2] == time
    ]


@pytest.mark.parametrize(("limit", "shown", "cut"), [(len(FULL), FULL, 0), (len(FULL) - 1, ONE_TURN, 1)])
def test_a_prompt_that_is_too_long_shows_less_history_and_is_counted(limit: int, shown: str, cut: int) -> None:
    policy = ScriptedPolicy(lambda key: "wait" if key[2] < 2 else "stop", prompt_tokens=limit)
    result = collected("3", policy=policy, group_size=1)
    assert prompts(policy, 2) == [shown]
    assert (result.counts.cut_prompts, result.counts.failures) == (cut, {})


def test_no_more_history_than_configured_is_shown_and_that_is_no_cut() -> None:
    policy = ScriptedPolicy(lambda key: "wait" if key[2] < 2 else "stop")
    result = collected("3", policy=policy, group_size=1, history=1)
    assert (prompts(policy, 2), result.counts.cut_prompts) == ([ONE_TURN], 0)


class ListingCorridor(Corridor):
    """Lists sixteen actions: two ways on, and fourteen doors that lead nowhere."""

    LISTED = ("go", "stop", *(f"door {number}" for number in range(1, 15)))

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        return replace(super().reset(task_id, seed=seed), admissible=self.LISTED)

    def step(self, action: str) -> EnvStep:
        return replace(super().step(action), admissible=self.LISTED)


LISTING_PROMPTS = React(Dialect(introduction="Walk.", grammar=bool))


def listed_prompt(history: int, actions: int) -> str:
    """The prompt of the third turn, after two times `wait`."""
    turns = [
        Turn(observation=seen, response="wait", action="wait")
        for seen in ("corridor 100 of length 3", "wait?", "wait?")
    ]
    first, now = (
        EnvStep(observation=turn.observation, state_key="0", admissible=ListingCorridor.LISTED) for turn in turns[:2]
    )
    messages = LISTING_PROMPTS.render(first=first, turns=turns[:2], now=now, history=history, actions=actions)
    return messages[0].content + "\n"


@pytest.mark.parametrize(
    ("limit", "fits", "cut"),
    [
        ((2, 16), (2, 16), (0, 0)),
        ((1, 16), (1, 16), (1, 0)),
        ((0, 16), (0, 16), (1, 0)),
        ((0, 13), (0, 12), (1, 1)),  # by eighths of all
        ((0, 8), (0, 8), (1, 1)),
        ((0, 0), (0, 0), (1, 1)),
    ],
)
def test_a_prompt_that_is_too_long_loses_its_history_first_and_then_actions(
    limit: tuple[int, int], fits: tuple[int, int], cut: tuple[int, int]
) -> None:
    def says(key: Key) -> str:
        return "<action>wait</action>" if key[2] < 2 else "<action>stop</action>"

    policy = ScriptedPolicy(says, prompt_tokens=len(listed_prompt(*limit)))
    pool = LocalPool(ListingCorridor)
    result = collected("3", policy=policy, pool=pool, prompter=LISTING_PROMPTS, group_size=1, history=2)
    assert prompts(policy, 2) == [listed_prompt(*fits)]
    # The first two turns have less to show: only the smallest limits cut them too.
    assert (result.counts.cut_prompts > 0, result.counts.cut_actions > 0) == (cut[0] > 0, cut[1] > 0)
    assert result.counts.failures == {}


def test_a_prompt_that_is_too_long_with_no_action_listed_fails_its_rollout_and_is_counted() -> None:
    policy = ScriptedPolicy("<action>wait</action>", prompt_tokens=len(listed_prompt(0, 0)) - 1)
    pool = LocalPool(ListingCorridor)
    result = collected("3", policy=policy, pool=pool, prompter=LISTING_PROMPTS, group_size=1, history=2, retries=0)
    assert (result.counts.failures, result.groups) == ({"prompt_too_long": 1}, ())


def test_a_prompt_that_is_too_long_without_history_fails_its_rollout_and_is_counted() -> None:
    policy = ScriptedPolicy("wait", prompt_tokens=len(ONE_TURN) - 1)
    result = collected("3", policy=policy, group_size=1, retries=0)
    assert (result.counts.failures, result.groups) == ({"prompt_too_long": 1}, ())
