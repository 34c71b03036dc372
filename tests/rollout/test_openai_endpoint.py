"""Any server that speaks chat completions can be evaluated; the tests start a small one."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import pytest

from envs.prompts import Message
from rollout import openai_endpoint
from rollout.collect import RolloutsFailed
from rollout.endpoint_usage import EndpointUsage
from rollout.openai_endpoint import EndpointPolicy
from rollout.policy import PromptTooLong
from rollout.pool import EpisodeFailed
from rollout.rate_limits import wait_asked
from rollout.types import Completion, Sampling
from tests.chat_server import LOST, TRICKLING, Answer, ChatServer, counted, refused, said, serving
from tests.fakes import completion, plain

DIALOGUE = (
    Message(role="user", content="walk"),
    Message(role="assistant", content="go"),
    Message(role="user", content="at 1"),
)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as started:
        yield started


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_endpoint, "FIRST_WAIT_S", 0.002)


def answers(policy: EndpointPolicy, requests: int = 1) -> list[Completion]:
    sampling = Sampling(temperature=0.5, max_tokens=7, top_p=0.75)

    async def all_at_once() -> list[Completion]:
        return await asyncio.gather(
            *(policy.complete(DIALOGUE, None, sampling=sampling, seed=9, key=(number,)) for number in range(requests))
        )

    return asyncio.run(all_at_once())


@contextmanager
def deaf() -> Iterator[str]:
    """An address whose machine takes up no connection: as many wait there as may."""
    with ExitStack() as open_sockets:
        listening, *waiting = (open_sockets.enter_context(socket.socket()) for _ in range(5))
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


def parted(content: object) -> Answer:
    """A whole reply whose message's content is no plain text."""
    answer = said(None)
    answer.body["choices"][0]["message"]["content"] = content
    return answer


def test_a_server_is_asked_for_the_dialogue_and_the_sampling(server: ChatServer) -> None:
    answers(EndpointPolicy(url=server.url, model="some", api_key="secret"))
    assert server.bodies == [
        {
            "path": "/v1/chat/completions",
            "model": "some",
            "messages": [
                {"role": "user", "content": "walk"},
                {"role": "assistant", "content": "go"},
                {"role": "user", "content": "at 1"},
            ],
            "temperature": 0.5,
            "top_p": 0.75,
            "max_completion_tokens": 7,
            "seed": 9,
        }
    ]
    assert server.keys == ["Bearer secret"]


@pytest.mark.parametrize(("content", "text"), [("stop", "stop"), (None, "")])
def test_an_answer_is_its_text_and_no_ids_to_train_on(server: ChatServer, content: str | None, text: str) -> None:
    server.replies(said(content))
    (answer,) = answers(EndpointPolicy(url=server.url, model="some"))
    assert plain(answer) == plain(completion(text, prompt=(), tokens=()))


def test_no_more_requests_than_allowed_are_under_way(server: ChatServer) -> None:
    server.seconds = 0.05
    answers(EndpointPolicy(url=server.url, model="some", concurrency=3), requests=9)
    assert (len(server.bodies), server.most_at_once) == (9, 3)


def test_an_address_where_nothing_answers_is_named(server: ChatServer) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(RolloutsFailed, match=f"nothing answers at endpoint={server.url}/: start the server"):
        answers(EndpointPolicy(url=server.url, model="some"))


# --- what may pass is waited out ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        refused(429, "slow down"),
        refused(429, "slow down", Retry_After="0.01"),
        refused(429, Retry_After="Thu, 01 Jan 2026 00:00:00 GMT"),  # has passed
        refused(429, Retry_After="soon"),
        refused(429, retry_after_ms="10"),
        refused(429, x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="10ms"),
        refused(500),
        refused(503, "loading"),
        Answer(status=502, body="<html>bad gateway</html>", headers={"Content-Type": "text/html"}),
        refused(408),
    ],
    ids=str,
)
def test_what_may_pass_is_asked_again_until_it_has_passed(server: ChatServer, failure: Answer) -> None:
    server.replies(failure, failure, failure, said("go"))
    (answer,) = answers(EndpointPolicy(url=server.url, model="some"))
    assert (answer.text, len(server.bodies)) == ("go", 4)
    assert server.bodies[0] == server.bodies[3]


def test_a_wait_that_the_endpoint_asks_of_one_request_holds_them_all(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[float] = []
    noted = threading.Event()

    def wait_noted(headers: Mapping[str, str]) -> float | None:
        noted.set()
        return wait_asked(headers)

    def reply(_: object, number: int) -> Answer:
        sent.append(time.monotonic())
        if number == 0:
            return refused(429, "slow down", Retry_After="0.4")
        assert noted.wait(30)  # else the other slot might send once more before the refusal arrives
        return said("go")

    monkeypatch.setattr(openai_endpoint, "wait_asked", wait_noted)
    server.reply = reply
    answers(EndpointPolicy(url=server.url, model="some", concurrency=2), requests=6)
    early = [moment for moment in sent if moment < sent[0] + 0.4]
    assert (len(sent), len(early) <= 2) == (7, True)  # what was under way already


def test_what_replies_used_is_counted_those_to_requests_that_failed_left_out(server: ChatServer) -> None:
    server.replies(counted("go", 100, 7), refused(500), counted("go", 30, 3, cached=20), said("go"))
    policy = EndpointPolicy(url=server.url, model="some", concurrency=1)
    answers(policy, requests=2)
    assert policy.used == EndpointUsage(requests=2, input_tokens=130, cached_tokens=20, output_tokens=10)
    answers(policy)
    assert policy.used == EndpointUsage(requests=3, input_tokens=130, cached_tokens=20, output_tokens=10, untold=1)


def test_a_connection_that_is_lost_in_the_middle_is_taken_up_again(server: ChatServer) -> None:
    server.replies(said("go"), LOST, LOST, said("stop"))
    policy = EndpointPolicy(url=server.url, model="some")
    assert [answer.text for _ in range(2) for answer in answers(policy)] == ["go", "stop"]


def test_a_request_that_is_not_answered_in_time_is_sent_again(server: ChatServer) -> None:
    slow = server.reply

    def late_first(body: dict[str, object], number: int) -> Answer:
        server.seconds = 0.0
        return slow(body, number)

    server.seconds, server.reply = 0.6, late_first
    (answer,) = answers(EndpointPolicy(url=server.url, model="some", timeout_s=0.3))
    assert (answer.text, len(server.bodies) >= 2) == ("go", True)


def test_a_reply_that_trickles_in_for_ever_is_lost_in_time(server: ChatServer) -> None:
    server.replies(Answer(status=TRICKLING), said("go"))
    (answer,) = answers(EndpointPolicy(url=server.url, model="some", timeout_s=0.5))
    assert (answer.text, len(server.bodies) >= 2) == ("go", True)


def test_an_address_that_takes_up_no_connection_is_named_as_one_where_nothing_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openai_endpoint, "CONNECT_S", 0.2)
    with deaf() as address, pytest.raises(RolloutsFailed, match=rf"nothing answers at endpoint={address}/: start"):
        answers(EndpointPolicy(url=address, model="some", patience_s=0.5))


def test_an_endpoint_that_answers_nothing_for_as_long_as_the_patience_lasts_ends_the_evaluation(
    server: ChatServer,
) -> None:
    server.replies(refused(503, "overloaded"))
    with pytest.raises(RolloutsFailed, match=r"has answered nothing for endpoint_patience_s=0.05 .*overloaded"):
        answers(EndpointPolicy(url=server.url, model="some", patience_s=0.05))
    assert len(server.bodies) > 1


def failure_beside_answers(server: ChatServer, policy: EndpointPolicy) -> Completion | BaseException:
    """How a request ends that is turned away each time, while others are answered."""

    async def both() -> Completion | BaseException:
        sampling = Sampling(temperature=0.5, max_tokens=7)
        asked = policy.complete(DIALOGUE, None, sampling=sampling, seed=13, key=(0,))
        unlucky = asyncio.create_task(asked)
        while not unlucky.done():
            await policy.complete(DIALOGUE, None, sampling=sampling, seed=1, key=(1,))
        (failure,) = await asyncio.gather(unlucky, return_exceptions=True)
        return failure

    server.reply = lambda body, _: refused(500, "boom") if body["seed"] == 13 else said("go")
    return asyncio.run(both())


def test_a_request_that_alone_is_turned_away_again_and_again_costs_its_rollout_and_no_other(server: ChatServer) -> None:
    failure = failure_beside_answers(server, EndpointPolicy(url=server.url, model="some", patience_s=0.1))
    assert isinstance(failure, EpisodeFailed)
    assert (failure.reason, failure.final) == ("not_served", True)
    assert "boom" in str(failure)


def test_of_requests_that_wait_alone_the_first_costs_its_rollout_and_the_second_in_a_row_ends_the_evaluation(
    server: ChatServer,
) -> None:
    policy, sampling = (
        EndpointPolicy(url=server.url, model="some", patience_s=0.05),
        Sampling(temperature=0.5, max_tokens=7),
    )
    told = list[type]()

    async def one_after_another() -> None:
        for seed in (1, 13, 1, 13, 13):  # 13 is turned away each time
            try:
                await policy.complete(DIALOGUE, None, sampling=sampling, seed=seed, key=(0,))
                told.append(Completion)
            except (EpisodeFailed, RolloutsFailed) as error:
                told.append(type(error))

    server.reply = lambda body, _: refused(500, "boom") if body["seed"] == 13 else said("go")
    asyncio.run(one_after_another())
    assert told == [Completion, EpisodeFailed, Completion, EpisodeFailed, RolloutsFailed]


def test_a_wait_that_is_longer_than_the_patience_is_not_begun(server: ChatServer) -> None:
    server.replies(refused(429, "daily limit", Retry_After="3600"))
    with pytest.raises(RolloutsFailed, match=r"asks to wait for 3600 s .*daily limit.*endpoint_patience_s=300: raise"):
        answers(EndpointPolicy(url=server.url, model="some"))
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "failure",
    [
        refused(429, Retry_After="0"),
        refused(429, Retry_After="Thu, 01 Jan 2026 00:00:00 GMT"),  # has passed
        refused(429, retry_after_ms="0"),
        refused(429, x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="0s"),
        refused(429, retry_after_ms="1"),
    ],
    ids=str,
)
def test_an_endpoint_that_asks_for_no_wait_is_not_asked_in_a_rush(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, failure: Answer
) -> None:
    monkeypatch.setattr(openai_endpoint, "FIRST_WAIT_S", 0.1)
    server.replies(failure)
    with pytest.raises(RolloutsFailed, match=r"has answered nothing for endpoint_patience_s=0.3"):
        answers(EndpointPolicy(url=server.url, model="some", patience_s=0.3))
    assert 2 <= len(server.bodies) <= 5


def test_a_wait_of_our_own_has_its_bound_after_any_number_of_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_endpoint, "FIRST_WAIT_S", 0.5)
    waits = [openai_endpoint._pause_s(None, attempt, seed=0) for attempt in (0, 1, 20, 5000)]
    assert waits == sorted(waits)
    assert waits[-2] == waits[-1] == openai_endpoint.LONGEST_WAIT_S / 2  # half of it for this seed


def test_a_wait_of_our_own_is_not_told_as_one_that_was_asked_for(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_endpoint, "FIRST_WAIT_S", 60.0)
    server.replies(refused(500, "boom"))
    with pytest.raises(RolloutsFailed, match=r"has answered nothing for endpoint_patience_s=0.1 .*boom"):
        answers(EndpointPolicy(url=server.url, model="some", patience_s=0.1))
    assert len(server.bodies) >= 2  # patience is used up to its end


def test_a_wait_of_our_own_that_is_longer_than_the_patience_costs_one_rollout_while_others_are_answered(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_endpoint, "FIRST_WAIT_S", 60.0)
    failure = failure_beside_answers(server, EndpointPolicy(url=server.url, model="some", patience_s=0.5))
    assert isinstance(failure, EpisodeFailed)
    assert failure.reason == "not_served"


# --- what does not pass -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_every_request_would_be_refused_for_ends_the_evaluation_at_once(server: ChatServer, status: int) -> None:
    server.replies(refused(status))
    with pytest.raises(RolloutsFailed, match=rf"endpoint={server.url}/ refuses model.source='some': .*broken.*/v1"):
        answers(EndpointPolicy(url=server.url, model="some"))
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"detail": [{"loc": ["body", "seed"], "msg": "extra"}]}, r'"seed"\], "msg": "extra"'),
        ([{"error": {"code": 401, "message": "no such key"}}], "no such key"),
        ("  no such\nkey  ", "Error code: 401 - no such key: check"),
        ("<html>\n<title>401</title>", "Error code: 401: check"),
        ("", "Error code: 401: check"),
    ],
    ids=str,
)
def test_what_an_endpoint_says_is_told_wherever_it_says_it(server: ChatServer, body: object, words: str) -> None:
    server.replies(Answer(status=401, body=body))
    with pytest.raises(RolloutsFailed, match=words):
        answers(EndpointPolicy(url=server.url, model="some"))


def test_a_quota_that_is_used_up_is_not_waited_for(server: ChatServer) -> None:
    server.replies(refused(429, "You exceeded your current quota", code="insufficient_quota"))
    with pytest.raises(RolloutsFailed, match="exceeded your current quota"):
        answers(EndpointPolicy(url=server.url, model="some"))


@pytest.mark.parametrize(
    ("reply", "reason", "final"),
    [
        (refused(400, "bad character"), "refused", True),
        (refused(422, "bad character"), "refused", True),
        (Answer(body={"id": "1", "choices": None, "error": {"message": "bad character"}}), "no_answer", False),
        (Answer(body={"id": "1", "choices": [], "note": "bad character"}), "no_answer", False),
        (Answer(body={"id": "1", "choices": {"note": "bad character"}}), "no_answer", False),
        (Answer(body={"id": "1", "choices": 3}), "no_answer", False),
        (Answer(body={"id": "1", "choices": [{"index": 0, "note": "bad character"}]}), "no_answer", False),
        (parted([{"type": "image", "text": "bad character"}]), "no_answer", False),
        (parted([{"type": "text", "text": None}]), "no_answer", False),
        (parted([["bad character"]]), "no_answer", False),
        (parted({"text": "bad character"}), "no_answer", False),
        (Answer(body={"id": "1", "choices": [{"index": 0, "message": 3}]}), "no_answer", False),
        (Answer(body="bad character"), "no_answer", False),
        (Answer(body="<p>bad character</p>", headers={"Content-Type": "text/html"}), "no_answer", False),
    ],
)
def test_a_request_that_is_refused_or_not_answered_costs_its_rollout(
    server: ChatServer, reply: Answer, reason: str, final: bool
) -> None:
    server.replies(said("go"), reply)
    policy = EndpointPolicy(url=server.url, model="some")
    answers(policy)
    with pytest.raises(EpisodeFailed) as failure:
        answers(policy)
    assert (failure.value.reason, failure.value.final) == (reason, final)


@pytest.mark.parametrize("reply", [refused(400, "unknown parameter: seed"), Answer(body={"choices": None})], ids=str)
def test_an_endpoint_that_takes_none_of_the_first_requests_ends_the_evaluation(
    server: ChatServer, reply: Answer
) -> None:
    server.replies(reply)

    async def many(policy: EndpointPolicy) -> list[BaseException]:
        asked = (
            policy.complete(DIALOGUE, None, sampling=Sampling(temperature=0.0, max_tokens=7), seed=0, key=(number,))
            for number in range(20)
        )
        failures = await asyncio.gather(*asked, return_exceptions=True)
        return [failure for failure in failures if isinstance(failure, RolloutsFailed)]

    failures = asyncio.run(many(EndpointPolicy(url=server.url, model="some")))
    assert "so ended each of the first 8 requests: see endpoint_options" in str(failures[0])


@pytest.mark.parametrize(
    "reply",
    [
        refused(400, "too many tokens", code="context_length_exceeded"),
        refused(400, "This model's maximum context length is 4096 tokens. However, you requested 5000."),
        refused(413, "Maximum Context Length exceeded: 5000 tokens"),
        refused(400, "the request exceeds the available context size (4096 tokens)"),
        refused(400, "Your input exceeds the context window of this model: 5000 tokens"),
        refused(413, "Prompt is too long: 5000 tokens"),
        Answer(status=400, body={"error": {"message": "5000 tokens", "type": "exceed_context_size_error"}}),
        Answer(status=400, body={"detail": "the model's context length is 4096 tokens"}),
        Answer(status=400, body=[{"error": {"code": 400, "message": "5000 tokens exceed the context window"}}]),
        Answer(status=400, body=[{"error": {"message": "5000 exceeds the maximum number of tokens allowed (4096)."}}]),
    ],
    ids=str,
)
def test_a_prompt_that_the_endpoint_finds_too_long_is_one_that_can_be_shortened(
    server: ChatServer, reply: Answer
) -> None:
    server.replies(reply)
    with pytest.raises(PromptTooLong, match="tokens"):
        answers(EndpointPolicy(url=server.url, model="some"))


def test_a_refusal_of_another_kind_is_no_long_prompt_whatever_it_speaks_of(server: ChatServer) -> None:
    server.replies(refused(403, "no access to the model with this context window"))
    with pytest.raises(RolloutsFailed, match="refuses"):
        answers(EndpointPolicy(url=server.url, model="some"))


# --- servers that differ ------------------------------------------------------------------------------------------


def test_options_rename_leave_out_and_add_parameters(server: ChatServer) -> None:
    options = {"max_completion_tokens": "max_tokens", "seed": None, "top_k": 20, "chat_template_kwargs": {"a": 1}}
    answers(EndpointPolicy(url=server.url, model="some", options=options))
    (body,) = server.bodies
    del body["path"], body["model"], body["messages"]
    expected = {"temperature": 0.5, "top_p": 0.75, "max_tokens": 7, "top_k": 20, "chat_template_kwargs": {"a": 1}}
    assert body == expected


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"reasoning_content": "Left is far."}, "<think>Left is far.</think><action>go</action>"),
        ({"reasoning": "Left is far."}, "<think>Left is far.</think><action>go</action>"),
        ({"reasoning_content": None, "reasoning": "Left."}, "<think>Left.</think><action>go</action>"),
        ({"reasoning_content": ""}, "<action>go</action>"),
    ],
)
def test_a_thought_that_the_server_returns_apart_stands_before_the_answer(
    server: ChatServer, fields: dict[str, str | None], text: str
) -> None:
    server.replies(said("<action>go</action>", **fields))
    (answer,) = answers(EndpointPolicy(url=server.url, model="some"))
    assert answer.text == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "go"}, {"type": "text", "text": " on"}], "go on"),
        ([{"type": "thinking", "thinking": "Left."}, {"type": "text", "text": "go"}], "<think>Left.</think>go"),
        ([{"type": "text", "text": "go"}, {"type": "thinking", "thinking": "Left."}], "<think>Left.</think>go"),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "Left."}]}, {"type": "text", "text": "go"}],
            "<think>Left.</think>go",
        ),
        ([{"type": "thinking", "thinking": ""}, {"type": "text", "text": "go"}], "go"),
        ([], ""),
    ],
)
def test_an_answer_in_parts_is_joined_its_thought_first(
    server: ChatServer, content: list[dict[str, object]], text: str
) -> None:
    server.replies(parted(content))
    (answer,) = answers(EndpointPolicy(url=server.url, model="some"))
    assert answer.text == text


def test_a_thought_that_stands_in_the_answer_too_is_not_repeated(server: ChatServer) -> None:
    server.replies(said("<think>Left.</think><action>go</action>", reasoning="Left."))
    (answer,) = answers(EndpointPolicy(url=server.url, model="some"))
    assert answer.text == "<think>Left.</think><action>go</action>"


def test_requests_are_not_logged_one_by_one(server: ChatServer, caplog: pytest.LogCaptureFixture) -> None:
    for name in openai_endpoint.TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET)
    caplog.set_level(logging.INFO)  # as Hydra sets it
    server.replies(refused(500), said("go"))
    answers(EndpointPolicy(url=server.url, model="some"))
    assert caplog.messages == []
