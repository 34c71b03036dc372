"""An engine gets the prompt's token ids, and its answer is kept token by token."""

import asyncio
import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from envs.prompts import Message
from rollout.messages import Answer, Request
from rollout.pace import FEW, HELD
from rollout.policy import EnginePolicy, Exchange, Key, PromptTooLong
from rollout.pool import EpisodeFailed
from rollout.routing import SLACK
from rollout.types import Completion, Ids, Sampling
from scripts.bench.virtual_time import run_virtually
from tests.fakes import SAMPLING, CharCodec, ScriptedEngine, completion, plain

ASKED = (Message(role="user", content="walk"),)


def policy(*engines: ScriptedEngine, prompt_tokens: int = 100) -> EnginePolicy:
    return EnginePolicy(engines=engines, codec=CharCodec(), prompt_tokens=prompt_tokens)  # pyright: ignore


def complete(engines: EnginePolicy, key: tuple[int, ...], before: Exchange | None = None) -> Completion:
    return asyncio.run(engines.complete(ASKED, before, sampling=SAMPLING, seed=9, key=key))


def test_an_answer_keeps_prompt_ids_sampled_ids_and_their_logprobs() -> None:
    answer = complete(policy(ScriptedEngine("go")), (0, 0, 0))
    expected = completion("go", prompt=[*map(ord, "walk"), ord("\n")], tokens=[ord("g"), ord("o"), 0])
    assert plain(answer) == plain(expected)


def test_an_engine_is_asked_with_the_prompts_own_ids() -> None:
    engine = ScriptedEngine()
    complete(policy(engine), (4, 5, 6))
    assert engine.asked == [Request("4-5-6-9", [*b"walk\n"], 1.0, 1.0, 8, 9, (0,))]


def test_a_greedy_request_carries_no_seed() -> None:
    greedy = Sampling(temperature=0.0, max_tokens=3, top_p=0.5)
    sent = policy().request(CharCodec().encode(ASKED), greedy, 9, (1,))
    assert sent == Request("1-9", [*b"walk\n"], 0.0, 0.5, 3, None, (0,))


@pytest.mark.parametrize(
    "message", [Request("1-9", [4, 5], 0.5, 0.25, 3, 9, (0, 7)), Answer([7, 8], [-0.5, -0.25], "length", 2, 16)]
)
def test_what_crosses_a_process_comes_out_as_it_went_in(message: Request | Answer) -> None:
    assert pickle.loads(pickle.dumps(message)) == message


def test_the_turn_before_reaches_the_codec() -> None:
    class GoesOn(CharCodec):
        def encode(self, messages: Sequence[Message], before: Exchange | None = None) -> Ids:
            assert before is not None
            return before.completion.token_ids

    before = Exchange(messages=ASKED, completion=completion(tokens=[41, 42]))
    continuing = EnginePolicy(engines=(ScriptedEngine(),), codec=GoesOn(), prompt_tokens=9)  # pyright: ignore
    assert complete(continuing, (0, 0, 1), before).prompt_ids.tolist() == [41, 42]


class Waiting(ScriptedEngine):
    """An engine that answers once `go` is set, so that requests pile up."""

    def __init__(self, go: asyncio.Event) -> None:
        super().__init__()
        self.go = go

    async def acall(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
        await self.go.wait()
        return await super().acall(method, *args, timeout_s=timeout_s)

    @property
    def keys(self) -> list[Key]:
        return [tuple(int(part) for part in sent.name.split("-")[:-1]) for sent in self.asked]


async def ask_at_once(keys: Sequence[Key], engines: int, before: Exchange | None = None) -> list[list[Key]]:
    """The keys that each engine was asked, in an order of arrival where none was answered before the last came."""
    go = asyncio.Event()
    asked = [Waiting(go) for _ in range(engines)]
    with policy(*asked).session(len(keys)) as session:
        tasks = [
            asyncio.create_task(session.complete(ASKED, before, sampling=SAMPLING, seed=9, key=key)) for key in keys
        ]
        while sum(session.router.load) < len(keys):
            await asyncio.sleep(0.001)
        go.set()
        await asyncio.gather(*tasks)
    return [engine.keys for engine in asked]


async def test_first_prompts_of_a_task_share_an_engine_and_tasks_are_spread() -> None:
    keys = [(task, sibling, 0) for task in range(4) for sibling in range(4)]
    shared = await ask_at_once(keys, engines=4)
    assert [{key[0] for key in asked} for asked in shared] == [{0}, {1}, {2}, {3}]


async def test_an_engine_that_is_far_busier_is_not_waited_for() -> None:
    asked = await ask_at_once([(0, sibling, 0) for sibling in range(12)], engines=2)
    home, other = (len(keys) for keys in asked)
    assert (home + other, home - other) == (12, SLACK)


async def test_prompts_that_share_nothing_go_to_the_engine_with_the_fewest_requests() -> None:
    asked = await ask_at_once([(0, sibling, 3) for sibling in range(6)], engines=3)
    assert [len(keys) for keys in asked] == [2, 2, 2]


@pytest.mark.parametrize(("goes_on", "number"), [(True, 1), (False, 0)])
def test_a_prompt_that_continues_the_turn_before_goes_to_its_engine(goes_on: bool, number: int) -> None:
    class GoesOn(CharCodec):
        def encode(self, messages: Sequence[Message], before: Exchange | None = None) -> Ids:
            ids = super().encode(messages)
            if before is None or not goes_on:
                return ids
            return np.concatenate([before.completion.prompt_ids, before.completion.token_ids, ids])

    engines = [ScriptedEngine(), ScriptedEngine()]
    asked = EnginePolicy(engines=tuple(engines), codec=GoesOn(), prompt_tokens=100)  # pyright: ignore
    with asked.router.engine(None, leaves="another") as busy:
        first = complete(asked, (5, 0, 0))  # engine 0 has a request
    assert (busy, len(engines[1].asked)) == (0, 1)
    complete(asked, (5, 0, 1), Exchange(messages=ASKED, completion=first))
    assert engines[number].asked[-1].name == "5-0-1-9"


def test_many_requests_of_one_engine_do_not_go_at_once() -> None:
    class Slow(ScriptedEngine):
        async def acall(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
            answer = await super().acall(method, *args, timeout_s=timeout_s)
            await asyncio.sleep(64)
            return answer

    async def collected() -> float:
        engine, rollouts = Slow(), 2 * FEW
        with policy(engine).session(rollouts) as session:
            await session.complete(ASKED, None, sampling=SAMPLING, seed=9, key=(0, 0, 0))
            keys = [(0, sibling, 1) for sibling in range(rollouts)]
            asking = [session.complete(ASKED, None, sampling=SAMPLING, seed=9, key=key) for key in keys]
            tasks = [asyncio.create_task(one) for one in asking]
            await asyncio.sleep(0.5)
            assert len(engine.asked) == 1 + rollouts - rollouts // HELD
            await asyncio.gather(*tasks)
            assert len(engine.asked) == 1 + rollouts
        return asyncio.get_running_loop().time()

    assert 64 + 64 < run_virtually(collected()) < 64 + 64 + 64 / HELD + 1


def test_each_engine_has_a_pace_of_its_own_in_each_collection() -> None:
    engines = policy(ScriptedEngine(), ScriptedEngine())
    with engines.session(1) as one, engines.session(1) as another:
        assert len({id(pace) for pace in (*one.paces, *another.paces)}) == 4


def test_a_request_that_fails_is_no_longer_counted_as_load() -> None:
    engine = ScriptedEngine()
    engine.fail = RuntimeError("out of memory")
    asked = policy(engine)
    with pytest.raises(RuntimeError):
        complete(asked, (0, 0, 0))
    assert asked.router.load == [0]


def test_a_prompt_of_the_limit_is_sent_and_one_token_more_is_refused_before_it_is() -> None:
    engine = ScriptedEngine()
    complete(policy(engine, prompt_tokens=5), (0, 0, 0))
    with pytest.raises(PromptTooLong, match="prompt of 5 tokens, the limit is 4"):
        complete(policy(engine, prompt_tokens=4), (0, 0, 1))
    assert [sent.name for sent in engine.asked] == ["0-0-0-9"]


@pytest.mark.parametrize("logprob", [math.nan, -math.inf, math.inf])
def test_an_answer_with_a_logprob_that_is_no_number_fails_its_episode(logprob: float) -> None:
    engine = ScriptedEngine("go")
    engine.bad[0, 0, 0] = logprob, 1
    with pytest.raises(EpisodeFailed, match=rf"bad_logprobs: token 2 of 3 has log-prob {logprob} from the engine"):
        complete(policy(engine), (0, 0, 0))


def test_an_engines_failure_is_a_crash() -> None:
    engine = ScriptedEngine()
    engine.fail = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        complete(policy(engine), (0, 0, 0))
