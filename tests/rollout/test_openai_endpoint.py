"""Any server that speaks chat completions can be evaluated; the tests start a small one."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from envs.prompts import Message
from rollout.collect import RolloutsFailed
from rollout.openai_endpoint import EndpointPolicy
from rollout.types import Completion, Sampling
from tests.fakes import completion, plain

DIALOGUE = (
    Message(role="user", content="walk"),
    Message(role="assistant", content="go"),
    Message(role="user", content="at 1"),
)


class ChatServer(ThreadingHTTPServer):
    """Answers each request after `seconds` with `text`, or an error; keeps bodies, keys and the most at once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.text: str | None = "go"
        self.seconds, self.status = 0.0, 200
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.bodies.append({"path": self.path, **body})
            server.keys.append(self.headers["Authorization"])
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        time.sleep(server.seconds)
        with server.lock:
            server.at_once -= 1
        message = {"role": "assistant", "content": server.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "some", "choices": [choice]}
        body_out = json.dumps(answer if server.status == 200 else {"error": {"message": "broken"}}).encode()
        self.send_response(server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body_out)))
        self.end_headers()
        self.wfile.write(body_out)

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as started:
        threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield started
        started.shutdown()


def answers(policy: EndpointPolicy, requests: int = 1) -> list[Completion]:
    sampling = Sampling(temperature=0.5, max_tokens=7, top_p=0.75)

    async def all_at_once() -> list[Completion]:
        return await asyncio.gather(
            *(policy.complete(DIALOGUE, None, sampling=sampling, seed=9, key=(number,)) for number in range(requests))
        )

    return asyncio.run(all_at_once())


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
    server.text = content
    (answer,) = answers(EndpointPolicy(url=server.url, model="some"))
    assert plain(answer) == plain(completion(text, prompt=(), tokens=()))


def test_no_more_requests_than_allowed_are_under_way(server: ChatServer) -> None:
    server.seconds = 0.05
    answers(EndpointPolicy(url=server.url, model="some", concurrency=3), requests=9)
    assert (len(server.bodies), server.most_at_once) == (9, 3)


def test_a_refused_request_names_endpoint_model_and_reason(server: ChatServer) -> None:
    server.status = 400
    with pytest.raises(RolloutsFailed, match=rf"endpoint={server.url}/ refuses model.source='some': .*broken"):
        answers(EndpointPolicy(url=server.url, model="some"))


def test_an_address_where_nothing_answers_is_named(server: ChatServer) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(RolloutsFailed, match=f"nothing answers at endpoint={server.url}/: start the server"):
        answers(EndpointPolicy(url=server.url, model="some"))
