"""The bench of schedules: its clock, its engine, and what its schemes wait for."""

import asyncio
from dataclasses import replace

import pytest

from scripts.bench.rollout import SCHEMES, WINDOW, Plan, bound, simulated
from scripts.bench.virtual_time import SimulatedEngine, Speed, run_virtually

SPEED = Speed(weights_s=1.0, sequence_s=0.1, token_s=0.01, batched_tokens=300)
PLAN = Plan(groups=2, group_size=2, turns=3)


def test_virtual_seconds_add_up() -> None:
    async def hours() -> float:
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(7200))
        return asyncio.get_running_loop().time()

    assert run_virtually(hours()) == pytest.approx(7200)


def test_a_schedule_that_waits_for_itself_is_an_error() -> None:
    async def forever() -> float:
        await asyncio.get_running_loop().create_future()
        return 0.0

    with pytest.raises(RuntimeError, match="deadlocked"):
        run_virtually(forever())


def took(*requests: tuple[int, int]) -> float:
    """Seconds of an engine for requests of (prompt tokens, response tokens) that come together."""
    engine = SimulatedEngine(SPEED)

    async def all_of_them() -> float:
        await asyncio.gather(*(engine.answer(*request) for request in requests))
        return asyncio.get_running_loop().time()

    seconds = run_virtually(all_of_them())
    assert engine.busy_s == pytest.approx(seconds)
    assert engine.sampled == sum(length for _, length in requests)
    return seconds


def test_a_response_takes_a_step_for_each_token() -> None:
    assert took((50, 4)) == pytest.approx(1.0 + 3 * 1.1)  # the first step reads no cache: it computes the prompt


def test_a_step_takes_as_long_as_the_slower_of_reading_and_computing() -> None:
    assert took((250, 1)) == pytest.approx(2.5)


def test_without_overlap_a_step_takes_as_long_as_both() -> None:
    assert replace(SPEED, overlaps=False).step(2, 48) == pytest.approx(1.2 + 0.5)


def test_a_long_prompt_is_computed_in_pieces() -> None:
    assert took((700, 1)) == pytest.approx(3.0 + 3.0 + 1.0)


def test_responses_of_one_batch_share_its_steps() -> None:
    assert took((10, 2), (10, 2)) == pytest.approx(1.0 + 1.2)


def test_equal_episodes_gain_nothing_without_a_barrier() -> None:
    equal = replace(PLAN, spread=0.0, group_size=1, groups=1)
    ours, unpaced, lockstep, reloading = (simulated(equal, scheme)[0] for scheme in SCHEMES)
    assert ours == unpaced == pytest.approx(lockstep)
    assert reloading - lockstep == pytest.approx(3 * Speed().reload_s, rel=0.01)


def test_unequal_episodes_wait_for_each_other_only_in_lockstep() -> None:
    unequal = replace(PLAN, spread=1.0)
    (ours, busy), _, (lockstep, _), (reloading, idle) = (simulated(unequal, scheme) for scheme in SCHEMES)
    assert ours < lockstep < reloading
    assert idle < busy


def test_few_episodes_are_not_paced() -> None:
    few = replace(PLAN, groups=3, group_size=8)
    assert simulated(few, "ours") == simulated(few, "unpaced")


def test_many_episodes_end_sooner_when_their_requests_are_spaced() -> None:
    many = replace(WINDOW, turns=10)
    assert simulated(many, "ours")[0] < 0.95 * simulated(many, "unpaced")[0]


@pytest.mark.parametrize(
    ("speed", "seconds"),
    [
        # 4 episodes of 3 turns: prompts of 90 tokens and once in each of 2 groups 10 more, 11 more tokens a response
        (SPEED, 4 * 3 * 11 * 1.0 / 4),
        (replace(SPEED, token_s=1.0), 4 * 3 * 90 + 2 * 10 + 4 * 3 * 11),
    ],
)
def test_no_schedule_undercuts_the_longest_episode_or_the_computing(speed: Speed, seconds: float) -> None:
    plan = replace(PLAN, spread=0.0, length=12, prompt=100, shared=10)
    assert bound(plan, replace(speed, weights_s=0.9)) == pytest.approx(seconds)
    assert simulated(plan, "ours", replace(speed, weights_s=0.9))[0] > seconds


@pytest.mark.slow
def test_the_benchs_own_collection_takes_half_the_time_of_lockstep() -> None:
    ours, lockstep, reloading = (simulated(WINDOW, scheme)[0] for scheme in ("ours", "lockstep", "reloading"))
    assert lockstep > 2.0 * ours
    assert reloading > 2.8 * ours
