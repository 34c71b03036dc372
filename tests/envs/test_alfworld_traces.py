"""Replays episodes recorded in the original engine: equal texts, admissible commands and endings."""

from pathlib import Path
from typing import Any

import pytest

from envs.alfworld import ALFWorld

# More than the longest recorded episode. Recorded episodes may be shorter or longer than the papers' limit of 50.
LONG = 1000


@pytest.fixture
def env(alfworld_data: Path) -> ALFWorld:
    return ALFWorld(data=alfworld_data, max_steps=LONG)


def task_id(trace: dict[str, Any]) -> str:
    return trace["gamefile"].removeprefix("json_2.1.1/").removesuffix("/game.tw-pddl")


def test_every_recorded_episode_is_replayed_to_the_letter(env: ALFWorld, alfworld_traces: list[dict[str, Any]]) -> None:
    steps = 0
    for trace in alfworld_traces:
        now = env.reset(task_id(trace))
        assert now.observation == trace["reset_observation"]
        assert list(now.admissible or ()) == trace["reset_admissible_commands"]
        for step in trace["steps"]:
            now = env.step(step["action"])
            replayed = (now.observation, now.won, now.score, now.reward, now.ending is not None)
            assert replayed == (step["observation"], step["won"], step["score"], step["score"], step["done"]), step
            assert list(now.admissible or ()) == step["admissible_commands"], step["action"]
            steps += 1
    assert (len(alfworld_traces), steps) == (24, 708)


def test_the_traces_cover_all_six_task_types_and_every_sort_of_command(
    env: ALFWorld, alfworld_traces: list[dict[str, Any]]
) -> None:
    assert {env.kind(task_id(trace)) for trace in alfworld_traces} == {
        "pick_and_place_simple",
        "look_at_obj_in_light",
        "pick_clean_then_place_in_recep",
        "pick_heat_then_place_in_recep",
        "pick_cool_then_place_in_recep",
        "pick_two_obj_and_place",
    }
    effective = {
        step["action"].split()[0]
        for trace in alfworld_traces
        for step in trace["steps"]
        if step["observation"] != "Nothing happens."
    }
    verbs = "go open close take move clean heat cool use examine look inventory help"
    assert set(verbs.split()) <= effective
