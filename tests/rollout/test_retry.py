"""Retries of failures: where they begin, what the policy is shown, and what is kept of them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from rollout.collect import Collector, RolloutConfig
from rollout.collection import REPLAY_DIFFERS
from rollout.policy import Key
from rollout.record import read_groups, write_groups
from rollout.retry import pivot, retry
from rollout.revise import ReviseConfig, Revised
from rollout.types import RolloutGroup, Task
from tests.fakes import CORRIDOR_PROMPTS, LocalPool, ScriptedPolicy, group, plain, play_options, step, trajectory

CONFIG = ReviseConfig(prompt="{task}|{attempt}|{outcome}|{reference}", mode="retry")
TASK = Task(number=0, task_id="3", seed=7)


def says(key: Key) -> str:
    """The first sibling stops after one step; the others and all retries walk to the end."""
    return "stop" if key == (0, 0, 1) else "go"


def retried() -> tuple[ScriptedPolicy, RolloutGroup, Revised]:
    policy = ScriptedPolicy(says)
    collector = Collector(
        policy=policy,
        pool=LocalPool(),  # pyright: ignore[reportArgumentType]
        prompter=CORRIDOR_PROMPTS,
        config=RolloutConfig(history=6),
    )
    collected = asyncio.run(collector.collect([TASK], group_size=2, options=play_options(seed=1)))
    policy.asked.clear()
    result = asyncio.run(retry(collector, collected.groups, config=CONFIG, options=play_options(seed=2)))
    return policy, collected.groups[0], result


def test_a_retry_begins_at_the_pivot_with_the_failures_own_steps() -> None:
    policy, before, result = retried()
    (one,) = result.groups[0].retries
    failed = before.trajectories[0]
    assert (one.pivot, one.reference, one.trajectory.sibling, one.trajectory.success) == (1, 1, 0, True)
    assert plain(one.trajectory.steps[0]) == plain(failed.steps[0])
    assert [taken.action for taken in one.trajectory.steps] == ["go", "go", "go"]
    assert [request.key for request in policy.asked] == [(0, 0, 1, 1), (0, 0, 1, 2)]
    assert (result.rollouts, result.requested, dict(result.counts.failures)) == (1, 1, {})
    assert plain(result.groups[0].trajectories) == plain(before.trajectories)


def test_the_attempts_are_shown_at_the_pivot_and_not_after_it() -> None:
    policy, *_ = retried()
    at_pivot, after = ([message.content for message in request.messages] for request in policy.asked)
    task = "corridor 7 of length 3"
    assert at_pivot == [f"{task}|go\nstop|succeeded|go\ngo\ngo", "go", "at 1"]
    assert after == [task, "go", "at 1", "go", "at 2"]
    assert [request.before for request in policy.asked] == [None, None]  # neither prompt goes on from the one before


def test_the_step_at_the_pivot_stands_behind_the_failures_own_prompt() -> None:
    _, before, result = retried()
    changed, failed = result.groups[0].retries[0].trajectory.steps[1], before.trajectories[0].steps[1]
    assert changed.completion.prompt_ids.tolist() == failed.completion.prompt_ids.tolist()
    assert (changed.observation, changed.state_key) == (failed.observation, failed.state_key)
    assert changed.completion.text == "go"


@pytest.mark.parametrize("at", [0, 1, 2])  # 2 is the pivot
def test_a_world_that_does_not_repeat_itself_is_not_retried_and_that_is_counted(at: int) -> None:
    states = ["nowhere" if number == at else str(number) for number in range(3)]
    elsewhere = [step(action, state=state) for action, state in zip(["go", "go", "stop"], states, strict=True)]
    won = [step("go")] * 3
    failures = group(elsewhere, won, task_id="3", seed=7, won=[False, True])
    policy = ScriptedPolicy()
    collector = Collector(
        policy=policy,
        pool=LocalPool(),  # pyright: ignore[reportArgumentType]
        prompter=CORRIDOR_PROMPTS,
        config=RolloutConfig(history=6),
    )
    result = asyncio.run(retry(collector, [failures], config=CONFIG, options=play_options()))
    assert (result.groups[0].retries, policy.asked) == ((), [])
    assert (result.requested, dict(result.counts.failures)) == (1, {REPLAY_DIFFERS: 1})
    assert f"turn {at} begins in '{at}', not in 'nowhere': a retry needs a world that repeats itself" in (
        result.counts.last_failure
    )


@pytest.mark.parametrize(
    ("failed", "reference", "expected"),
    [
        (["go", "stop"], ["go", "go"], 1),
        (["stop"], ["go", "go"], 0),
        (["go", "go"], ["go", "go", "go"], 1),  # it stopped too soon: its last step
        (["go", "wait", "stop"], ["go", "stop"], 1),
    ],
)
def test_the_pivot_is_the_first_step_that_the_edits_into_the_sibling_change(
    failed: Sequence[str], reference: Sequence[str], expected: int
) -> None:
    assert pivot(trajectory(*map(step, failed)), trajectory(*map(step, reference), sibling=1)) == expected


def test_a_step_without_an_action_is_a_pivot() -> None:
    lost = trajectory(step("go"), step("?", valid=False), step("go"))
    assert pivot(lost, trajectory(step("go"), step("?", valid=False), step("go"), sibling=1)) == 1


def test_retries_come_back_as_they_were_recorded(tmp_path: Path) -> None:
    _, _, result = retried()
    write_groups(tmp_path / "groups.jsonl.zst", result.groups)
    assert plain(tuple(read_groups(tmp_path / "groups.jsonl.zst"))) == plain(result.groups)
