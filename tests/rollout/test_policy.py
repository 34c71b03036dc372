"""An engine gets the prompt's token ids, and its answer is kept token by token."""

import asyncio
import math
import pickle
from collections.abc import Sequence

import pytest

from envs.prompts import Message
from rollout.messages import Answer, Request
from rollout.policy import EnginePolicy, Exchange, PromptTooLong
from rollout.pool import EpisodeFailed
from rollout.types import Completion, Ids, Sampling
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
    "message", [Request("1-9", [4, 5], 0.5, 0.25, 3, 9, (0, 7)), Answer([7, 8], [-0.5, -0.25], "length", 2)]
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


def test_all_rollouts_of_a_task_share_an_engine_and_tasks_are_spread() -> None:
    engines = [ScriptedEngine(), ScriptedEngine()]
    for key in [(task, sibling, time) for task in range(4) for sibling in range(2) for time in range(2)]:
        complete(policy(*engines), key)
    even, odd = ([int(sent.name.split("-")[0]) for sent in engine.asked] for engine in engines)
    assert (even, odd) == ([0, 0, 0, 0, 2, 2, 2, 2], [1, 1, 1, 1, 3, 3, 3, 3])


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
