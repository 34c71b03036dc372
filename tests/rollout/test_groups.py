"""Dynamic sampling: groups whose rollouts all earned the same are replaced by other tasks."""

import asyncio

import pytest

from rollout.collect import Collected, Collector, RolloutConfig, RolloutsFailed
from rollout.groups import Groups
from rollout.policy import Key, Policy
from rollout.pool import EpisodeFailed
from rollout.waves import WavePolicy
from tests.fakes import (
    CORRIDOR_PROMPTS,
    LocalPool,
    ScriptedEngine,
    ScriptedPolicy,
    failing,
    plain,
    play_options,
    step,
    tasks,
    trajectory,
)
from tests.rollout.test_waves import engine_policy

FIRST, SPARES = ("1", "2", "3"), ("4", "5", "6")


def split_in(*numbers: int):
    """A policy's script: in the tasks of these numbers the first sibling gives up; all others win."""
    return lambda key: "stop" if key[0] in numbers and key[1] == 0 else "go"


def collected(
    policy: Policy, pool: LocalPool | None = None, *, spares: int = 3, max_failure_share: float = 1.0
) -> Collected:
    collector = Collector(
        policy=policy,
        pool=pool or LocalPool(),  # pyright: ignore[reportArgumentType]
        prompter=CORRIDOR_PROMPTS,
        config=RolloutConfig(history=6, max_failure_share=max_failure_share, retries=0),
    )
    every = tasks(*FIRST, *SPARES)
    options = play_options(seed=1)
    return asyncio.run(
        collector.collect(every[:3], group_size=2, options=options, spares=every[3 : 3 + spares]),
    )


def task_ids(result: Collected) -> tuple[list[str], list[str]]:
    return [group.task_id for group in result.groups], sorted(group.task_id for group in result.flat)


def test_a_group_without_spread_is_replaced_by_the_next_spare_task() -> None:
    assert task_ids(collected(ScriptedPolicy(split_in(0, 2, 3)))) == (["1", "3", "4"], ["2"])


def test_a_spare_group_without_spread_is_replaced_as_well() -> None:
    assert task_ids(collected(ScriptedPolicy(split_in(0, 2, 5)))) == (["1", "3", "6"], ["2", "4", "5"])


def test_groups_without_spread_are_kept_when_no_spare_is_left() -> None:
    result = collected(ScriptedPolicy(split_in(0)), spares=1)
    assert (len(result.groups), len(result.flat)) == (3, 1)


def test_nothing_is_replaced_where_every_group_has_spread() -> None:
    policy = ScriptedPolicy(split_in(0, 1, 2))
    assert task_ids(collected(policy)) == (["1", "2", "3"], [])
    assert {asked.key[0] for asked in policy.asked} == {0, 1, 2}


def test_a_group_that_failed_is_dropped_and_not_replaced() -> None:
    result = collected(ScriptedPolicy(split_in(1, 2)), LocalPool(before=failing("env_timeout", task_id="1")))
    assert (task_ids(result), result.counts.dropped_groups) == ((["2", "3"], []), 1)


def test_groups_that_take_the_place_of_others_count_for_the_share_that_may_fail() -> None:
    """Tasks 2 and 3 are replaced by 4 and 5, of which the second fails: 1 of 5 groups, where 1 of 4 may."""
    for share in (0.25, 0.19):
        pool = LocalPool(before=failing("env_error", task_id="5", times=99))
        if share == 0.25:
            assert collected(ScriptedPolicy(split_in(0, 3)), pool, max_failure_share=share).counts.dropped_groups == 1
        else:
            with pytest.raises(RolloutsFailed, match=r"^1 of [45] groups dropped"):
                collected(ScriptedPolicy(split_in(0, 3)), pool, max_failure_share=share)


def test_a_group_that_takes_the_place_of_another_and_fails_ends_the_collection_at_once() -> None:
    async def before(task_id: str, episode: int, turn: int) -> None:
        if task_id == "4":
            raise EpisodeFailed("env_error", "broken")
        if task_id == "1":
            await asyncio.Event().wait()  # for ever

    with pytest.raises(RolloutsFailed, match=r"of . groups dropped"):
        collected(ScriptedPolicy(split_in(0, 2)), LocalPool(before=before), max_failure_share=0.0)


def delayed(*, fast_first: bool) -> LocalPool:
    async def before(task_id: str, episode: int, turn: int) -> None:
        del task_id, turn
        await asyncio.sleep(0.001 * (episode if fast_first else 20 - episode))

    return LocalPool(before=before)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("spread_in", [(0, 2, 3), (0, 4, 5), (1, 4)])
def test_which_tasks_are_played_does_not_depend_on_which_rollouts_end_first(spread_in: tuple[int, ...]) -> None:
    results, waves = [], []
    for fast_first in (True, False):
        engine = ScriptedEngine(split_in(*spread_in))
        results.append(collected(WavePolicy(engine_policy(engine)), delayed(fast_first=fast_first)))
        waves.append(engine.waves)
    assert plain(results[0].groups) == plain(results[1].groups)
    assert [sorted(wave) for wave in waves[0]] == [sorted(wave) for wave in waves[1]]


def test_a_rollout_of_a_spare_task_has_keys_of_its_own() -> None:
    policy = ScriptedPolicy(split_in(0, 2, 3))
    collected(policy)
    keys: list[Key] = [asked.key for asked in policy.asked]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_which_groups_without_spread_are_kept_does_not_depend_on_which_end_first(order: tuple[int, ...]) -> None:
    every = tasks(*FIRST, "4")
    groups = Groups(1, every[3:])
    waiting = [job for number in order for job in groups.jobs(every[number])]
    for job in waiting:
        rollout = trajectory(step("go"), task_id=job.task.task_id, seed=job.task.seed)
        waiting += groups.ended(job, rollout)
    assert [group.task_id for group in groups.kept] == ["2", "3", "4"]
    assert [group.task_id for group in groups.replaced] == ["1"]
