"""The true advantage of recorded turns, in a corridor whose truth is known by hand."""

import asyncio
from typing import Any

import pytest

from rollout.collect import Collector, RolloutConfig
from rollout.policy import Key
from rollout.types import RolloutGroup, Task
from tests.fakes import CORRIDOR_PROMPTS, Corridor, LocalPool, ScriptedPolicy, play_options
from trainer.config.build import ConfigError
from trainer.inspect.continued import continued


def collector(script: Any, world: Any = Corridor) -> Collector:
    config = RolloutConfig(history=9, success_reward=8.0)
    return Collector(policy=ScriptedPolicy(script), pool=LocalPool(world), prompter=CORRIDOR_PROMPTS, config=config)  # pyright: ignore


def played(script: Any, *, siblings: int = 2) -> RolloutGroup:
    """Rollouts of the corridor of length 2."""
    task = Task(number=0, task_id="2", seed=100)
    (group,) = asyncio.run(collector(script).collect([task], group_size=siblings, options=play_options())).groups
    return group


def halves(key: Key) -> str:
    """Every second sibling gives up at once; the others go."""
    return "stop" if key[1] % 2 else "go"


def test_a_turn_is_worth_what_it_changes_of_what_comes() -> None:
    # Sibling 0 went twice and won 8, sibling 1 stopped. Of those that go on from the start, half win: V = 4. After one
    # "go" the two of four that do not stop win: V = 4 again, so that turn is worth 0, the winning one 8 - 4, and
    # stopping 0 - 4.
    truth = continued([played(halves)], collector(halves), play_options(), count=4)
    assert truth.advantage.tolist() == [0.0, 4.0, -4.0]
    # Returns 8, 0, 8, 0: variance 64/3, of the mean 16/3. The first turn has two of them, the others one.
    assert truth.error.tolist() == pytest.approx([(32 / 3) ** 0.5, (16 / 3) ** 0.5, (16 / 3) ** 0.5])


def test_a_policy_that_always_does_the_same_has_no_advantage_and_no_error() -> None:
    truth = continued([played("go")], collector("go"), play_options(), count=2)
    assert (truth.advantage.tolist(), truth.error.tolist()) == ([0.0] * 4, [0.0] * 4)


def test_rollouts_that_began_alike_are_continued_once() -> None:
    going_on = collector("go")
    continued([played("go", siblings=8)], going_on, play_options(), count=3)
    # Two beginnings, of no and of one answer; three rollouts from each, which ask two times and once.
    assert len(going_on.policy.asked) == 3 * 2 + 3 * 1  # pyright: ignore


def test_a_world_that_does_not_repeat_itself_is_refused() -> None:
    class Other(Corridor):
        def step(self, action: str) -> Any:
            return super().step("wait")

    with pytest.raises(ConfigError, match="the same answers led to other states than were recorded"):
        continued([played("go")], collector("go", Other), play_options(), count=2)
