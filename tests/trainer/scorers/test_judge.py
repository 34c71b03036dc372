"""A judge behind an endpoint; the tests start a small one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rollout import openai_endpoint
from rollout.collect import RolloutsFailed
from tests.chat_server import Answer, Body, ChatServer, counted, refused, said, serving
from tests.fakes import Corridor, group, step
from trainer.scorers import Rollouts
from trainer.scorers.judge import Judge

LONG, SHORT = [step("go", seen="a corridor"), step("fly", valid=False)], [step("wait", seen="a wall")]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as started:
        yield started


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_endpoint, "FIRST_WAIT_S", 0.002)


def judge(server: ChatServer, **options: Any) -> Judge:
    return Judge(**{"url": server.url, "model": "some", "key_variable": None, **options})


def rollouts(folder: Path) -> Rollouts:
    return Rollouts(groups=(group(LONG, SHORT, won=[True]),), env=Corridor(), folder=folder)


def asked(body: Body) -> str:
    return body["messages"][0]["content"]


def by_length(body: Body, _: int) -> Answer:
    """0.5 and -1 for the long rollout, 0.25 for the short one."""
    return counted("[0.5, -1]" if "2 steps" in asked(body) else "So: [0.25]", 7, 3)


def test_every_step_gets_the_judges_number_and_tokens_are_counted(server: ChatServer, tmp_path: Path) -> None:
    server.reply = by_length
    result = judge(server, weight=2.0)(rollouts(tmp_path))
    assert result.value.tolist() == [1.0, -2.0, 0.5]
    numbers = {"requests": 2, "input_tokens": 14, "output_tokens": 6, "cached_share": 0.0, "unscored": 0}
    assert result.diagnostics == numbers


def test_the_judge_is_shown_what_the_agent_saw_and_did_and_how_it_ended(server: ChatServer, tmp_path: Path) -> None:
    server.reply = by_length
    judge(server)(rollouts(tmp_path))
    question = next(asked(body) for body in server.bodies if "2 steps" in asked(body))
    assert 'Step 1\nThe agent saw: "a corridor"\nThe agent did: "go"\n' in question
    assert 'The agent did: "fly" (not understood)' in question
    assert "The rollout succeeded." in question


def test_a_rollout_that_was_judged_is_not_asked_about_again(server: ChatServer, tmp_path: Path) -> None:
    server.reply = by_length
    first, again = (judge(server)(rollouts(tmp_path)) for _ in range(2))
    assert again.value.tolist() == first.value.tolist()
    assert (again.diagnostics["cached_share"], again.diagnostics["requests"], len(server.bodies)) == (1.0, 0, 2)
    judge(server, prompt="{steps} {count} steps")(rollouts(tmp_path))
    assert len(server.bodies) == 4  # another question has no answer yet


def test_an_answer_that_is_no_list_is_sent_back_with_what_is_wrong(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda body, _: said("good") if len(body["messages"]) == 1 else by_length(body, 0)
    assert judge(server)(rollouts(tmp_path)).value.tolist() == [0.5, -1.0, 0.25]
    second = next(body["messages"] for body in server.bodies if len(body["messages"]) == 3)
    assert second[1]["content"] == "good"
    assert "no JSON list of" in second[2]["content"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(said("[5]"), "unreadable"), (said("[0, 0, 0]"), "unreadable"), (refused(400, "no"), "refused")],
)
def test_a_rollout_without_an_answer_gets_0_and_is_counted_by_reason(
    server: ChatServer, tmp_path: Path, answer: Answer, reason: str
) -> None:
    server.reply = lambda body, number: by_length(body, number) if "2 steps" in asked(body) else answer
    result = judge(server, max_unscored=0.5)(rollouts(tmp_path))
    assert result.value.tolist() == [0.5, -1.0, 0.0]
    assert (result.diagnostics["unscored"], result.diagnostics[f"unscored {reason}"]) == (1, 1)


def test_a_rollout_too_long_for_the_judge_is_counted_as_such(server: ChatServer, tmp_path: Path) -> None:
    too_long = refused(400, "too long", "context_length_exceeded")
    server.reply = lambda body, number: too_long if "2 steps" in asked(body) else by_length(body, number)
    result = judge(server, max_unscored=0.5)(rollouts(tmp_path))
    assert result.diagnostics["unscored too_long"] == 1


def test_more_lost_answers_than_allowed_stop_the_run(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda body, number: by_length(body, number) if "2 steps" in asked(body) else said("no")
    with pytest.raises(RolloutsFailed, match=r"scored 1 of 2 rollouts \({'unreadable': 1}\).*scorer.max_unscored=0.1"):
        judge(server)(rollouts(tmp_path))
    kept = judge(server, max_unscored=0.5)(rollouts(tmp_path))
    assert kept.diagnostics["cached_share"] == 0.5  # the answer that came was kept


def test_a_request_that_is_turned_away_is_sent_again(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda body, number: refused(503) if number < 2 else by_length(body, number)
    assert judge(server)(rollouts(tmp_path)).diagnostics["unscored"] == 0


def test_a_server_that_is_not_there_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RolloutsFailed, match="nothing answers at"):
        Judge(url="http://127.0.0.1:9/v1", model="some", key_variable=None)(rollouts(tmp_path))


def test_the_key_is_read_from_the_environment_and_its_absence_refused(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply = by_length
    scorer = judge(server, key_variable="JUDGE_KEY")
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(ValueError, match=r"key_variable=JUDGE_KEY is not in the environment: export it, or set"):
        scorer.check(Corridor(), "2")
    monkeypatch.setenv("JUDGE_KEY", "secret")
    scorer(rollouts(tmp_path))
    assert set(server.keys) == {"Bearer secret"}
    assert "secret" not in json.dumps(server.bodies)


def test_the_numbers_are_plain_floats(server: ChatServer, tmp_path: Path) -> None:
    server.reply = by_length
    assert judge(server)(rollouts(tmp_path)).value.dtype == np.float64


def test_rollouts_that_read_alike_are_asked_about_once(server: ChatServer, tmp_path: Path) -> None:
    server.reply, server.seconds = by_length, 0.02
    alike = Rollouts(groups=(group(LONG, SHORT, LONG), group(LONG)), env=Corridor(), folder=tmp_path)
    first = judge(server)(alike)
    assert first.value.tolist() == [0.5, -1.0, 0.25, 0.5, -1.0, 0.5, -1.0]
    assert (first.diagnostics["requests"], first.diagnostics["cached_share"]) == (2, 0.0)
    assert judge(server)(alike).diagnostics["cached_share"] == 1.0


def test_each_rollout_of_those_that_read_alike_counts_as_unscored(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda body, number: by_length(body, number) if "2 steps" in asked(body) else said("no")
    alike = Rollouts(groups=(group(LONG, SHORT, SHORT, SHORT),), env=Corridor(), folder=tmp_path)
    with pytest.raises(RolloutsFailed, match="scored 1 of 4 rollouts"):
        judge(server, max_unscored=0.5)(alike)


def cut(text: str) -> Answer:
    """A reply that reached max_tokens."""
    answer = said(text)
    answer.body["choices"][0]["finish_reason"] = "length"
    return answer


@pytest.mark.parametrize(
    "first",
    [said("<think>Perhaps [1].</think>I cannot tell."), cut("First [1], or better [0."), said(f"[1{'0' * 400}]")],
    ids=["thought", "cut short", "out of range"],
)
def test_a_list_that_is_not_the_judges_last_word_is_no_answer(
    server: ChatServer, tmp_path: Path, first: Answer
) -> None:
    server.reply = lambda body, number: first if len(body["messages"]) == 1 else by_length(body, number)
    alone = Rollouts(groups=(group(SHORT),), env=Corridor(), folder=tmp_path)
    result = judge(server)(alone)
    assert (result.value.tolist(), result.diagnostics["requests"]) == ([0.25], 2)


def test_an_answer_of_another_length_is_another_answer(server: ChatServer, tmp_path: Path) -> None:
    server.reply = by_length
    judge(server)(rollouts(tmp_path))
    assert judge(server, max_tokens=64)(rollouts(tmp_path)).diagnostics["cached_share"] == 0.0


def test_a_prompt_that_writes_its_fields_as_plain_braces_shows_none(server: ChatServer) -> None:
    with pytest.raises(ValueError, match=r"prompt does not show {steps}"):
        judge(server, prompt="{{steps}} of {count}")


@pytest.mark.parametrize(
    ("answer", "options", "told"),
    [
        (
            refused(404, "no such model"),
            {},
            r"scorer\.url=.* refuses scorer\.model='some': .*, and scorer\.key_variable",
        ),
        (refused(503), {"patience_s": 0.0}, r"scorer\.url=.* has answered nothing for scorer\.patience_s=0"),
    ],
)
def test_what_an_endpoint_refuses_is_told_with_the_scorers_settings(
    server: ChatServer, tmp_path: Path, answer: Answer, options: dict[str, Any], told: str
) -> None:
    server.replies(answer)
    with pytest.raises(RolloutsFailed, match=told):
        judge(server, **options)(rollouts(tmp_path))


def test_a_judge_leaves_no_connection_open_behind_it(server: ChatServer, tmp_path: Path) -> None:
    server.reply, server.keeps_open = by_length, True
    judge(server)(rollouts(tmp_path))
    assert server.connections == 0
    assert len(server.bodies) == 2
