"""Success rates with Wilson's interval, overall and by kind of task; every task counts once."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.collect import Collected, Collector, RolloutConfig, RolloutsFailed
from rollout.collection import DroppedGroup, PlayCounts
from rollout.policy import Key, PromptTooLong
from rollout.types import RolloutGroup
from tests.fakes import CORRIDOR_PROMPTS, SAMPLING, Corridor, LocalPool, ScriptedPolicy, group, step, tasks
from trainer.evaluation import evaluation, play_held_out
from trainer.report.progress import Display
from trainer.report.rate import Rate
from trainer.setup.world import World

GROUPS = (
    group((step("go"), step("go")), task_id="1", won=[True]),
    group((step("go"), step("fly", valid=False), step("go"), step("go")), task_id="2"),
    group((step("go"), step("go")), task_id="3", won=[True]),
)


def lossy() -> Collected:
    """Tasks 1 to 3 as in `GROUPS`; 4 and 6 outgrew their prompts, the world of 5 broke."""
    reasons = ("prompt_too_long", "env_error", "prompt_too_long")
    lost = [DroppedGroup(task=task, reason=reason) for task, reason in zip(tasks("4", "5", "6"), reasons, strict=True)]
    return Collected(groups=GROUPS, counts=PlayCounts(dropped=tuple(lost)))


def wilson(wins: int, total: int) -> tuple[float, float]:
    """Wilson 1927, with the normal's 97.5 % quantile."""
    z = 1.959963984540054
    share = wins / total
    center = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return center - half, center + half


@given(st.integers(1, 2000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_is_wilsons_formula(counts: tuple[int, int]) -> None:
    wins, total = counts
    assert Rate(wins=wins, total=total).interval == pytest.approx(wilson(wins, total), abs=1e-12)


@pytest.mark.parametrize(
    ("wins", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)],  # Newcombe 1998, table I, method 3
)
def test_the_interval_equals_published_examples(wins: int, total: int, low: float, high: float) -> None:
    assert Rate(wins=wins, total=total).interval == pytest.approx((low, high), abs=5e-5)


def test_a_rate_shows_its_interval_and_its_counts() -> None:
    assert str(Rate(wins=81, total=263)) == "30.8 % [25.5, 36.6] (81/263)"


@pytest.mark.parametrize(("wins", "total"), [(0, 0), (2, 1), (-1, 3)])
def test_a_rate_of_nothing_is_refused(wins: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"{wins} wins of {total}"):
        Rate(wins=wins, total=total)


def test_an_evaluation_averages_over_rollouts_and_over_steps() -> None:
    held_out = evaluation(Collected(groups=GROUPS), Corridor().kind)
    assert held_out.overall == Rate(wins=2, total=3)
    assert held_out.by_kind == {"even": Rate(wins=0, total=1), "odd": Rate(wins=2, total=2)}
    assert list(held_out.by_kind) == ["even", "odd"]
    assert held_out.mean_score == 2 / 3
    assert held_out.mean_steps == 8 / 3
    assert held_out.invalid_share == 1 / 8
    assert held_out.trajectories == tuple(rollout for each in GROUPS for rollout in each.trajectories)


def test_a_task_that_could_not_be_played_counts_as_not_solved_and_is_told_beside_the_rate() -> None:
    held_out = evaluation(lossy(), Corridor().kind)
    assert held_out.overall == Rate(wins=2, total=6)
    assert held_out.by_kind == {"even": Rate(wins=0, total=3), "odd": Rate(wins=2, total=3)}
    assert str(held_out) == "33.3 % [9.7, 70.0] (2/6), 3 not played: 2 prompt_too_long, 1 env_error"
    assert held_out.kind_words("even") == "0.0 % [0.0, 56.1] (0/3), 2 not played: prompt_too_long"
    assert held_out.kind_words("odd") == "66.7 % [20.8, 93.9] (2/3), 1 not played: env_error"
    assert held_out.mean_score == 2 / 6
    assert held_out.mean_steps == 8 / 3  # of those that were played


def test_nothing_is_told_beside_a_rate_of_tasks_that_were_all_played() -> None:
    assert str(evaluation(Collected(groups=GROUPS), str)) == "66.7 % [20.8, 93.9] (2/3)"


class LongCorridor(Corridor):
    """Validates on tasks 1 to 4."""

    def tasks(self, split: str) -> tuple[str, ...]:
        return ("1", "2", "3", "4")


def held_out_of_four(policy: ScriptedPolicy, share: float) -> Collected:
    """Four validation tasks played by `policy`."""
    corridor = LongCorridor()
    world = World(env=corridor, prompter=CORRIDOR_PROMPTS, train=(), validation=tuple(corridor.tasks("test")))
    config = RolloutConfig(history=6, max_failure_share=share)
    collector = Collector(policy=policy, pool=LocalPool(), prompter=CORRIDOR_PROMPTS, config=config)  # pyright: ignore
    return play_held_out(collector, world, count=None, sampling=SAMPLING, seed=0, display=Display())


def outgrown_by(*numbers: int) -> ScriptedPolicy:
    """Walks, but has no room for the second turn of these tasks."""

    def say(key: Key) -> str:
        if key[0] in numbers and key[-1] == 1:
            raise PromptTooLong("prompt of 1033 tokens, the limit is 1024")
        return "go"

    return ScriptedPolicy(say)


def test_four_tasks_of_which_three_are_solved_and_one_outgrows_its_prompt_are_three_of_four() -> None:
    collected = held_out_of_four(outgrown_by(2), 0.25)
    assert str(evaluation(collected, Corridor().kind)) == "75.0 % [30.1, 95.4] (3/4), 1 not played: prompt_too_long"


def test_held_out_tasks_of_which_too_many_cannot_be_played_are_refused() -> None:
    with pytest.raises(RolloutsFailed, match=r"2 of 4 groups dropped .*'prompt_too_long': 2.*max_failure_share=0.25"):
        held_out_of_four(outgrown_by(1, 2), 0.25)


def test_held_out_tasks_none_of_which_can_be_played_are_refused_whatever_the_share() -> None:
    with pytest.raises(RolloutsFailed, match=r"all 4 of 4 groups dropped .*the limit is 3 "):
        held_out_of_four(ScriptedPolicy(prompt_tokens=3), 1.0)


def test_the_kinds_add_up_to_the_whole() -> None:
    held_out = evaluation(lossy(), lambda task_id: task_id)
    assert sum(rate.wins for rate in held_out.by_kind.values()) == held_out.overall.wins
    assert sum(rate.total for rate in held_out.by_kind.values()) == held_out.overall.total


@pytest.mark.parametrize("groups", [(), (RolloutGroup(task_id="1", seed=0, trajectories=()),)])
def test_an_evaluation_of_nothing_is_refused(groups: tuple[RolloutGroup, ...]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        evaluation(Collected(groups=groups), str)
