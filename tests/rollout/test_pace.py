"""Requests of many rollouts go to their engine evenly spaced, and never is much of its batch held back."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from rollout.pace import FEW, HELD, Pace
from scripts.bench.virtual_time import run_virtually

ANSWER_S = 64.0
MANY = 2 * FEW


async def ask(pace: Pace, turn: int, went: list[tuple[float, int]], answer_s: float = ANSWER_S) -> None:
    """One request; `went` gets when it went to the engine, and its turn."""
    async with pace.asking(turn=turn):
        went.append((asyncio.get_running_loop().time(), turn))
        await asyncio.sleep(answer_s)


async def fail(pace: Pace) -> None:
    async with pace.asking(turn=0):
        await asyncio.sleep(1e6)
        raise ValueError("lost")


async def busy(pace: Pace, requests: int) -> list[asyncio.Task[None]]:
    """Let the pace learn how long an answer takes, then leave so many requests with the engine for a long time."""
    await ask(pace, 0, [])
    tasks = [asyncio.create_task(ask(pace, 0, [], answer_s=1e6)) for _ in range(requests)]
    await asyncio.sleep(ANSWER_S * requests)
    return tasks


def virtually(scene: Callable[[], Awaitable[None]]) -> None:
    async def timed() -> float:
        await scene()
        return 0.0

    run_virtually(timed())


async def at_once(pace: Pace, turns: list[int]) -> list[tuple[float, int]]:
    """Requests that come together; returns when each went, from then on, and its turn."""
    began, went = asyncio.get_running_loop().time(), list[tuple[float, int]]()
    await asyncio.gather(*(ask(pace, turn, went) for turn in turns))
    return [(time - began, turn) for time, turn in went]


def test_requests_that_come_together_go_as_far_apart_as_answers_come() -> None:
    async def scene() -> None:
        pace = Pace()
        others = await busy(pace, MANY)
        went = await at_once(pace, [7, 7, 7])
        # MANY and one request were under way when the first went, MANY and three when the second did
        between = [after - before for (before, _), (after, _) in pairwise(went)]
        assert went[0][0] == 0.0
        assert between == pytest.approx([ANSWER_S / (MANY + 1), ANSWER_S / (MANY + 3)])
        for other in others:
            other.cancel()

    virtually(scene)


def test_of_those_that_wait_the_rollout_with_the_fewest_turns_goes_first() -> None:
    async def scene() -> None:
        pace = Pace()
        others = await busy(pace, MANY)
        went = await at_once(pace, [9, 5, 3, 4])  # the first finds nobody before it
        assert [turn for _, turn in went] == [9, 3, 4, 5]
        for other in others:
            other.cancel()

    virtually(scene)


@pytest.mark.parametrize("requests", [FEW - 1, FEW // 2])
def test_nobody_waits_where_few_requests_share_the_engine(requests: int) -> None:
    async def scene() -> None:
        pace = Pace()
        await ask(pace, 0, [])
        went = await at_once(pace, [0] * requests)
        assert [time for time, _ in went] == [0.0] * requests

    virtually(scene)


def test_nobody_waits_before_the_first_answer() -> None:
    async def scene() -> None:
        went = await at_once(Pace(), [0] * MANY)
        assert [time for time, _ in went] == [0.0] * MANY

    virtually(scene)


def test_at_most_a_stated_share_of_the_requests_waits() -> None:
    async def scene() -> None:
        pace = Pace()
        await ask(pace, 0, [], answer_s=1e6)  # such as one whose engine was lost and started anew
        went = await at_once(pace, [0] * MANY)
        waited = [time for time, _ in went if time > 0.0]
        assert len(waited) == MANY // HELD

    virtually(scene)


def test_a_rollout_that_is_cancelled_while_it_waits_takes_nobodys_place() -> None:
    async def scene() -> None:
        pace = Pace()
        others = await busy(pace, MANY)
        went: list[tuple[float, int]] = []
        first, second, third = (asyncio.create_task(ask(pace, turn, went)) for turn in (1, 2, 3))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, third)
        assert second.cancelled()
        assert [turn for _, turn in went] == [1, 3]
        assert went[1][0] - went[0][0] == pytest.approx(ANSWER_S / (MANY + 1))
        for other in others:
            other.cancel()

    virtually(scene)


def test_an_answer_that_fails_is_not_learned_from() -> None:
    async def scene() -> None:
        pace = Pace()
        with pytest.raises(ValueError, match="lost"):
            await fail(pace)
        went = await at_once(pace, [0] * MANY)
        assert [time for time, _ in went] == [0.0] * MANY

    virtually(scene)
