"""Deterministic admission: engines are asked for the same batches whatever order the rollouts come in."""

import asyncio
import itertools
import math

import numpy as np
import pytest

from envs.prompts import Message
from rollout.collect import Collected, Collector, RolloutConfig, RolloutsFailed
from rollout.policy import EnginePolicy, Key, Session
from rollout.waves import WavePolicy
from tests.fakes import (
    CORRIDOR_PROMPTS,
    SAMPLING,
    CharCodec,
    LocalPool,
    ScriptedEngine,
    failing,
    plain,
    play_options,
    tasks,
)

ASKED = (Message(role="user", content="walk"),)
KEYS: list[Key] = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (10, 0, 0)]


def engine_policy(*engines: ScriptedEngine, prompt_tokens: int = 1000) -> EnginePolicy:
    return EnginePolicy(engines=engines, codec=CharCodec(), prompt_tokens=prompt_tokens)  # pyright: ignore


async def ask(waves: Session, key: Key) -> str:
    return (await waves.complete(ASKED, None, sampling=SAMPLING, seed=0, key=key)).text


async def turn_of_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("order", list(itertools.permutations(KEYS)))
async def test_a_wave_is_sorted_by_key_whatever_order_its_requests_come_in(order: tuple[Key, ...]) -> None:
    engine = ScriptedEngine(lambda key: f"to {key}")
    with WavePolicy(engine_policy(engine)).session(len(KEYS)) as waves:
        answers = await asyncio.gather(*(ask(waves, key) for key in order))
    assert engine.waves == [["0-0-0-0", "0-1-0-0", "1-0-0-0", "10-0-0-0"]]
    assert answers == [f"to {key}" for key in order]


@pytest.mark.timeout(10)
async def test_nothing_is_sent_before_every_live_rollout_has_asked() -> None:
    engine = ScriptedEngine()
    with WavePolicy(engine_policy(engine)).session(3) as waves:
        asking = [asyncio.create_task(ask(waves, key)) for key in KEYS[:2]]
        await turn_of_the_loop()
        assert engine.waves == []
        waves.leave()  # the third rollout ends without another request
        await asyncio.gather(*asking)
    assert engine.waves == [["0-0-0-0", "0-1-0-0"]]


async def test_each_engine_gets_its_own_tasks_part_of_a_wave() -> None:
    engines = [ScriptedEngine(), ScriptedEngine(), ScriptedEngine()]
    with WavePolicy(engine_policy(*engines)).session(len(KEYS)) as waves:
        await asyncio.gather(*(ask(waves, key) for key in KEYS))
    assert [engine.waves for engine in engines] == [[["0-0-0-0", "0-1-0-0"]], [["1-0-0-0", "10-0-0-0"]], []]


@pytest.mark.timeout(10)
async def test_an_engines_failure_reaches_everyone_in_its_wave() -> None:
    engine = ScriptedEngine()
    engine.fail = RuntimeError("out of memory")
    with WavePolicy(engine_policy(engine)).session(2) as waves:
        errors = await asyncio.gather(*(ask(waves, key) for key in KEYS[:2]), return_exceptions=True)
    assert [str(error) for error in errors] == ["out of memory"] * 2


def collected(
    engine: ScriptedEngine,
    pool: LocalPool,
    *,
    history: int = 6,
    prompt_tokens: int = 1000,
    max_failure_share: float = 1.0,
) -> Collected:
    collector = Collector(
        policy=WavePolicy(engine_policy(engine, prompt_tokens=prompt_tokens)),
        pool=pool,  # pyright: ignore[reportArgumentType]
        prompter=CORRIDOR_PROMPTS,
        config=RolloutConfig(history=history, max_failure_share=max_failure_share),
    )
    return asyncio.run(collector.collect(tasks("2", "3"), group_size=2, options=play_options(seed=1)))


def delayed(fast_first: bool) -> LocalPool:
    async def before(task_id: str, episode: int, turn: int) -> None:
        del turn
        await asyncio.sleep(0.002 * (episode if fast_first else 5 - episode))

    return LocalPool(before=before)


@pytest.mark.timeout(10)
def test_a_collection_sends_the_same_waves_however_fast_the_worlds_are() -> None:
    engines = [ScriptedEngine(), ScriptedEngine()]
    first, second = (collected(engine, delayed(fast)) for engine, fast in zip(engines, (True, False), strict=True))
    assert engines[0].waves == engines[1].waves
    assert [[len(name.split("-")) for name in wave] for wave in engines[0].waves] == [[4] * 4, [4] * 4, [4] * 2]
    assert engines[0].asked == []
    assert plain(first.groups) == plain(second.groups)


@pytest.mark.timeout(10)
def test_a_rollout_that_failed_for_good_does_not_hold_the_others() -> None:
    result = collected(ScriptedEngine(), LocalPool(before=failing("env_timeout", task_id="3", times=9, turn=1)))
    assert [group.task_id for group in result.groups] == ["2"]
    assert result.counts.dropped_groups == 1


@pytest.mark.timeout(10)
def test_a_prompt_that_is_too_long_does_not_hold_the_others() -> None:
    result = collected(ScriptedEngine(), LocalPool(), prompt_tokens=40)
    assert [group.task_id for group in result.groups] == ["2", "3"]
    assert result.counts.cut_prompts > 0


@pytest.mark.timeout(10)
@pytest.mark.parametrize(("tries", "played"), [(2, ["2", "3"]), (9, ["2"])])
def test_a_rollout_with_a_bad_logprob_is_played_again_and_dropped_if_that_does_not_help(
    tries: int, played: list[str]
) -> None:
    engine = ScriptedEngine()
    engine.bad[1, 0, 1] = math.nan, tries
    result = collected(engine, LocalPool())
    assert [group.task_id for group in result.groups] == played
    assert result.counts.failures == {"bad_logprobs": min(tries, 3)}
    assert [group.reason for group in result.counts.dropped] == ["bad_logprobs"] * (2 - len(played))
    steps = [step for group in result.groups for rollout in group.trajectories for step in rollout.steps]
    assert all(np.isfinite(step.completion.logprobs).all() for step in steps)


@pytest.mark.timeout(10)
def test_a_run_whose_engine_gives_too_many_bad_logprobs_stops() -> None:
    engine = ScriptedEngine()
    engine.bad[1, 0, 1] = math.nan, 9
    with pytest.raises(RolloutsFailed, match=r"1 of 2 groups dropped \(\{'bad_logprobs': 3\}.*max_failure_share=0.25"):
        collected(engine, LocalPool(), max_failure_share=0.25)
