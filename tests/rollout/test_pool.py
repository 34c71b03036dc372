"""Env workers are processes: one that dies or hangs is replaced, and each lost episode is counted by its reason."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import OutOfMemoryError

from envs import WORLDS, Ending, EnvError
from envs.alfworld.generate import write_households
from envs.alfworld.household import Households
from rollout import ray_actors, ray_cluster
from rollout.collect import Collected, Collector, RolloutConfig, RolloutsFailed
from rollout.policy import Key
from rollout.pool import EnvPool, EnvWorker, Episode, EpisodeFailed, PoolConfig
from rollout.ray_actors import ActorDied, ActorSpec, ActorTimeout, Remote
from tests.fakes import (
    CORRIDOR,
    CORRIDOR_PROMPTS,
    Corridor,
    LocalPool,
    ScriptedPolicy,
    TreacherousCorridor,
    plain,
    play_options,
    tasks,
)

WORKERS = 2


@pytest.fixture(scope="module")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPCREDIT_CACHE", str(tmp_path_factory.mktemp("cache")))  # workers have the driver's environment
        ray_cluster.start(num_cpus=WORKERS, object_store_bytes=2**27)
        yield
        ray_cluster.stop()


@pytest.fixture(scope="module")
def pool(ray_session: None) -> Iterator[EnvPool]:
    """One pool for all tests: it replaces the workers that they break."""
    corridors = EnvPool(PoolConfig(world="tests.fakes:TREACHEROUS", options={}, workers=WORKERS))
    yield corridors
    corridors.close()


@asynccontextmanager
async def episodes(pool: EnvPool, count: int) -> AsyncIterator[list[Episode]]:
    """So many episodes at the same time; an idle pool gives them to worker 0, 1, 0, 1."""
    async with AsyncExitStack() as stack:
        under_way = [await stack.enter_async_context(pool.episode()) for _ in range(count)]
        for episode in under_way:
            await episode.reset("4", 0)
        yield under_way


async def pid(episode: Episode) -> int:
    return int((await episode.step("pid")).observation)


async def failure(episode: Episode, action: str = "go") -> str:
    with pytest.raises(EpisodeFailed) as caught:
        await episode.step(action)
    return caught.value.reason


def gone(process: int) -> bool:
    """Whether the process ends within ten seconds."""
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def collected(pool: Any, policy: ScriptedPolicy) -> Collected:
    config = RolloutConfig(history=6, max_failure_share=0.0)
    collector = Collector(policy=policy, pool=pool, prompter=CORRIDOR_PROMPTS, config=config)
    return asyncio.run(collector.collect(tasks("1", "2", "3", "4"), group_size=3, options=play_options()))


def play(key: Key) -> str:
    return "wait" if key[1] == key[2] else "go"


# --- whole workers ------------------------------------------------------------------------------------------------


def test_many_episodes_in_few_workers_play_as_each_would_alone(pool: EnvPool) -> None:
    result = collected(pool, ScriptedPolicy(play))
    assert result.counts.failures == {}
    assert plain(result.groups) == plain(collected(LocalPool(), ScriptedPolicy(play)).groups)


async def test_a_pool_for_another_run_has_the_same_workers_and_none_of_their_episodes(pool: EnvPool) -> None:
    abandoned = pool.episode()
    await abandoned.reset("4", 0)
    before = await pid(abandoned)
    assert pool.renewed() is pool
    with pytest.raises(KeyError):
        await abandoned.step("go")
    async with episodes(pool, WORKERS) as under_way:
        assert before in [await pid(episode) for episode in under_way]


async def test_a_pool_whose_worker_died_serves_no_other_run(ray_session: None) -> None:
    with closing(EnvPool(PoolConfig(world="tests.fakes:TREACHEROUS", options={}, workers=1))) as pool:
        async with episodes(pool, 1) as (episode,):
            os.kill(await pid(episode), signal.SIGKILL)
        with pytest.raises(ActorDied, match="env worker 0 died"):
            pool.renewed()


async def test_an_episode_goes_to_the_least_busy_worker(pool: EnvPool) -> None:
    async with episodes(pool, 1) as (first,):
        async with episodes(pool, 1) as (second,):
            first_pid, second_pid = await pid(first), await pid(second)
            assert first_pid != second_pid
            async with episodes(pool, 2) as (third, fourth):
                assert [await pid(third), await pid(fourth)] == [first_pid, second_pid]
        async with episodes(pool, 1) as (fifth,):
            assert await pid(fifth) == second_pid


async def test_a_finished_episodes_place_in_its_worker_is_free_again(pool: EnvPool) -> None:
    counts: list[str] = []
    for _ in range(3):
        async with episodes(pool, 1) as (episode,):
            counts.append((await episode.step("made")).observation)
    assert counts == counts[:1] * 3


def test_a_worker_plays_its_next_episode_in_an_environment_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    envs: list[Corridor] = []

    def make(**options: Any) -> Corridor:
        envs.append(Corridor())
        return envs[-1]

    monkeypatch.setattr("tests.fakes.CORRIDOR", replace(CORRIDOR, make=make))
    worker = EnvWorker("tests.fakes:CORRIDOR", {})
    worker.reset(1, "2", 0)
    worker.reset(2, "3", 0)
    assert worker.step(1, "go").score == 1 / 2
    assert worker.step(2, "go").score == 1 / 3
    worker.release(1)
    worker.release(1)  # a second time changes nothing
    assert worker.reset(3, "1", 7).observation == "corridor 7 of length 1"
    assert worker.step(2, "go").score == 2 / 3
    assert len(envs) == 2


def test_an_environment_that_raised_is_not_played_in_again(monkeypatch: pytest.MonkeyPatch) -> None:
    envs: list[TreacherousCorridor] = []

    def make(**options: Any) -> TreacherousCorridor:
        envs.append(TreacherousCorridor())
        return envs[-1]

    monkeypatch.setattr("tests.fakes.CORRIDOR", replace(CORRIDOR, make=make))
    worker = EnvWorker("tests.fakes:CORRIDOR", {})
    worker.reset(1, "2", 0)
    with pytest.raises(EnvError):
        worker.step(1, "broken data")
    worker.release(1)
    with pytest.raises(ValueError, match="invalid literal"):
        worker.reset(2, "no number", 0)
    worker.release(2)
    worker.reset(3, "2", 0)
    assert len(envs) == 3


# --- broken ones --------------------------------------------------------------------------------------------------


async def test_a_killed_worker_is_replaced_once_and_takes_only_its_own_episodes_with_it(pool: EnvPool) -> None:
    async with episodes(pool, 4) as (first, second, third, fourth):
        killed, other = await pid(first), await pid(second)
        os.kill(killed, signal.SIGKILL)
        assert await failure(first) == "worker_died"
        async with episodes(pool, 1) as (in_its_place,):
            new = await pid(in_its_place)
            assert new not in (killed, other)
            assert await failure(third) == "worker_lost"
        assert [await pid(second), await pid(fourth)] == [other, other]
    async with episodes(pool, 1) as (later,):
        assert await pid(later) == new


async def test_a_hung_worker_is_killed_and_replaced(pool: EnvPool) -> None:
    async with episodes(pool, 4) as (first, second, third, fourth):
        hung, other = await pid(first), await pid(second)
        patient = pool.config
        pool.config = replace(patient, timeout_s=2.0)
        result = await asyncio.gather(failure(first, "hang"), failure(third))
        pool.config = patient
        assert result == ["env_timeout", "worker_lost"]  # the second waited behind the first
        assert [await pid(second), await pid(fourth)] == [other, other]
        assert gone(hung)
    async with episodes(pool, 1) as (again,):
        assert await pid(again) not in (hung, other)


async def test_broken_data_fails_the_episode_and_spares_the_worker(pool: EnvPool) -> None:
    async with episodes(pool, 3) as (first, _, third):
        worker = await pid(first)
        assert await failure(first, "broken data") == "env_error"
        assert await pid(third) == worker


async def test_a_bug_in_a_world_is_a_crash(pool: EnvPool) -> None:
    async with episodes(pool, 1) as (episode,):
        with pytest.raises(ZeroDivisionError):
            await episode.step("bug")


def test_a_worker_killed_in_the_middle_of_a_collection_changes_nothing_but_the_count(pool: EnvPool) -> None:
    async def worker() -> int:
        async with episodes(pool, 1) as (episode,):
            return await pid(episode)

    victims = [asyncio.run(worker())]

    async def kill(key: Key) -> None:
        if key == (3, 1, 2) and victims:
            os.kill(victims.pop(), signal.SIGKILL)

    result = collected(pool, ScriptedPolicy(play, before=kill))
    assert result.counts.failures["worker_died"] == 1
    assert set(result.counts.failures) <= {"worker_died", "worker_lost"}
    assert plain(result.groups) == plain(collected(LocalPool(), ScriptedPolicy(play)).groups)


def test_a_worker_that_hangs_in_the_middle_of_a_collection_changes_nothing_but_the_count(pool: EnvPool) -> None:
    hangs = ["hang"]

    def once(key: Key) -> str:
        if key != (3, 1, 2) or not hangs:
            return play(key)
        patient = pool.config  # a new worker needs longer to start than this call is given
        pool.config = replace(patient, timeout_s=2.0)
        asyncio.get_running_loop().call_soon(setattr, pool, "config", patient)
        return hangs.pop()

    result = collected(pool, ScriptedPolicy(once))
    assert hangs == []
    assert result.counts.failures["env_timeout"] == 1
    assert set(result.counts.failures) <= {"env_timeout", "worker_lost"}
    assert plain(result.groups) == plain(collected(LocalPool(), ScriptedPolicy(play)).groups)


def survivors(pool: EnvPool, script: Callable[[Key], str], second: str, reason: str) -> list[str]:
    """The groups that are left of four tasks, of which the second fails for `reason` at each try.

    Several retries, because an answer that is on its way when its worker dies is lost, and its call is blamed.
    """
    config = RolloutConfig(history=6, retries=4, max_failure_share=0.25)
    collector = Collector(policy=ScriptedPolicy(script), pool=pool, prompter=CORRIDOR_PROMPTS, config=config)
    four = tasks("2", second, "3", "4")
    result = asyncio.run(collector.collect(four, group_size=4, options=play_options()))
    assert set(result.counts.failures) <= {reason, "worker_lost"}
    assert result.counts.failures[reason] >= 1 + config.retries
    return [group.task_id for group in result.groups]


def test_a_task_that_kills_its_worker_at_every_reset_costs_its_own_group_and_no_other(pool: EnvPool) -> None:
    assert survivors(pool, play, TreacherousCorridor.KILLS, "worker_died") == ["2", "3", "4"]


def test_a_task_that_hangs_at_every_first_step_costs_its_own_group_and_no_other(pool: EnvPool) -> None:
    patient = pool.config  # a new worker needs longer to start than this call is given

    def script(key: Key) -> str:
        if key[0] != 1:
            return play(key)
        pool.config = replace(patient, timeout_s=2.0)
        asyncio.get_running_loop().call_soon(setattr, pool, "config", patient)
        return "hang"

    assert survivors(pool, script, "1", "env_timeout") == ["2", "3", "4"]


async def test_a_call_is_not_timed_while_it_waits_behind_others(pool: EnvPool) -> None:
    async with episodes(pool, 1 + 2 * WORKERS) as under_way:
        patient = pool.config
        pool.config = replace(patient, timeout_s=4.0)
        answers = await asyncio.gather(*(episode.step("doze") for episode in under_way))  # three in one worker, 6 s
        pool.config = patient
        assert [step.observation for step in answers] == ["doze?"] * len(under_way)


def test_a_game_file_that_breaks_or_goes_during_a_run_costs_its_group_and_is_named(
    ray_session: None, tmp_path: Path
) -> None:
    write_households(Households(train=4, held_out=1), tmp_path)
    games = sorted((tmp_path / "json_2.1.1" / "train").glob("*/*/game.tw-pddl"))
    task_ids = [game.parent.relative_to(tmp_path / "json_2.1.1").as_posix() for game in games]
    pool = EnvPool(PoolConfig(world="alfworld", options={"data": str(tmp_path), "max_steps": 2}, workers=1))

    def collected_from_files(max_failure_share: float) -> Collected:
        config = RolloutConfig(history=2, retries=1, max_failure_share=max_failure_share)
        prompts = WORLDS["alfworld"].prompter("bare")
        collector = Collector(policy=ScriptedPolicy("look"), pool=pool, prompter=prompts, config=config)
        return asyncio.run(collector.collect(tasks(*task_ids), group_size=2, options=play_options()))

    whole = collected_from_files(0.0)
    games[0].unlink()
    games[2].write_text(games[2].read_text()[:1000])
    result = collected_from_files(0.5)
    assert (result.counts.failures, result.counts.dropped_groups) == (
        {"env_error": 8},
        2,
    )  # 2 games x 2 rollouts x 2 tries
    assert plain(result.groups) == plain(whole.groups[1::2])
    named = f"({'|'.join(re.escape(str(games[number])) for number in (0, 2))}) cannot be read"
    with pytest.raises(RolloutsFailed, match=rf"2 of 4 groups dropped .*'env_error'.*{named}.*max_failure_share=0.25"):
        collected_from_files(0.25)
    pool.close()


# --- a user's own world -------------------------------------------------------------------------------------------

OWN_WORLD = """
from dataclasses import replace
from tests.fakes import CORRIDOR, Corridor

class Longer(Corridor):
    def __init__(self, *, limit):
        super().__init__()
        self.LIMIT = limit

WORLD = replace(CORRIDOR, name="longer", make=Longer)
"""


@pytest.mark.parametrize("place", ["working folder", "search path"])
async def test_workers_import_an_own_world_from_where_the_driver_does(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "own_world.py").write_text(OWN_WORLD)
    monkeypatch.setattr(sys, "path", [*sys.path])
    if place == "working folder":
        monkeypatch.chdir(tmp_path)
    else:
        sys.path.append(str(tmp_path))
    pool = EnvPool(PoolConfig(world="own_world:WORLD", options={"limit": 9}, workers=1))
    async with pool.episode() as episode:
        assert (await episode.reset("8", 3)).observation == "corridor 3 of length 8"
        endings = [(await episode.step("go")).ending for _ in range(8)]
    assert endings == [None] * 7 + [Ending.SUCCESS]
    pool.close()


# --- actors -------------------------------------------------------------------------------------------------------


def test_an_actor_gives_its_answer_its_own_error_or_the_name_of_its_death(ray_session: None) -> None:
    environment: Mapping[str, str] = {"STEPCREDIT_TEST": "seen"}
    actor = ray_actors.spawn(EnvWorker, "tests.fakes:TREACHEROUS", {}, spec=ActorSpec(env=environment))
    assert actor.call("reset", 1, "2", 5).observation == "corridor 5 of length 2"
    with pytest.raises(KeyError, match="7"):
        actor.call("step", 7, "go")
    hanging = actor.submit("step", 1, "hang")
    with pytest.raises(ActorTimeout, match=r"0\.1 s"):
        ray_actors.gather([hanging], timeout_s=0.1)
    actor.kill()
    with pytest.raises(ActorDied):
        ray_actors.gather([hanging])


async def test_a_worker_killed_by_the_memory_monitor_has_died_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reference:
        """Of a call that the monitor ended."""

        def future(self) -> Future[Any]:
            failed: Future[Any] = Future()
            failed.set_exception(OutOfMemoryError("killed due to the node running low on memory"))
            return failed

    def get(references: list[Reference], *, timeout: float | None) -> list[Any]:
        del timeout
        return [reference.future().result() for reference in references]

    class Handle:
        """Ray's handle of an actor whose every call ends so."""

        def __init__(self) -> None:
            self.invoke = self

        def remote(self, *_: Any) -> Reference:
            return Reference()

    monkeypatch.setattr("ray.get", get)
    worker: Any = Remote(Handle(), ActorSpec(name="env worker 0"))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ActorDied):
        await worker.acall("step")
    with pytest.raises(ActorDied):
        worker.call("step")
