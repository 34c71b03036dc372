"""The one file that knows the OpenAI client: any chat-completions endpoint as a policy to evaluate.

What may pass by itself is waited out, what fails one request costs one rollout, and what would fail them all ends the
collection at once.
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Any, NoReturn, cast

import numpy as np
import openai

from envs.prompts import Message
from rollout.collect import RolloutsFailed
from rollout.endpoint_options import parameters
from rollout.endpoint_usage import EndpointUsage, usage_of
from rollout.policy import Exchange, Independent, Key, PromptTooLong
from rollout.pool import EpisodeFailed
from rollout.rate_limits import wait_asked
from rollout.types import Completion, Sampling

# Why a rollout failed, as it is counted and logged.
REFUSED = "refused"
"""The endpoint does not take one of its requests."""
NO_ANSWER = "no_answer"
"""The endpoint's reply holds no message, or one that is no text."""
NOT_SERVED = "not_served"
"""The endpoint turned one of its requests away, or lost it, again and again."""

TALKATIVE = ("httpx", "httpx2", "httpcore", "httpcore2", "openai")  # loggers with a line for each request
PASSING = frozenset({408, 409, 425, 429})  # of status codes below 500, those that another try may not get
ONE_REQUEST = frozenset({400, 413, 422})  # those that may be the fault of one request
MANY = 8  # refusals without one answer: the endpoint refuses all requests
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # between two tries; doubled each time
CONNECT_S = 20.0  # until a machine has taken up a connection; an answer may take longer
REASONING = ("reasoning_content", "reasoning")  # fields of a message where servers put the thought
TOO_LONG = (  # how servers word it
    *("context length", "context size", "context window"),
    *("prompt is too long", "exceeds the maximum number of tokens"),
)

Failure = openai.APIError | TimeoutError


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """How the settings are called by which a user says which endpoint is asked: a failure names them."""

    url: str = "endpoint"
    """Its address."""
    model: str = "model.source"
    """The model's name there."""
    key: str = "OPENAI_API_KEY"
    """The environment variable with the key."""
    patience: str = "endpoint_patience_s"
    """How long a request is sent again."""
    request: str = "endpoint_options"
    """What a request holds."""


class EndpointPolicy(Independent):
    """A chat-completions endpoint, for evaluation only: it returns text, no token ids and no log-probs.

    Args:
        concurrency: most requests that are under way at once.
        options: see `endpoint_options`.
        patience_s: how long a request that is turned away or lost is sent again.
        timeout_s: how long an answer may take before the request counts as lost.
        told: how the user's settings are called.
    """

    def __init__(
        self,
        *,
        url: str,
        model: str,
        concurrency: int = 32,
        api_key: str = "none",
        options: Mapping[str, Any] = MappingProxyType({}),
        patience_s: float = 300.0,
        timeout_s: float = 600.0,
        told: EndpointSettings = EndpointSettings(),
    ) -> None:
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        timeout = openai.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))
        self._client = openai.AsyncOpenAI(base_url=url, api_key=api_key, max_retries=0, timeout=timeout)
        self._model, self._options, self._told = model, options, told
        self._patience_s, self._timeout_s = patience_s, timeout_s
        self._slots = asyncio.Semaphore(concurrency)
        self._reached = False  # something has replied, be it with an error
        self._answered_at = -math.inf  # by the monotonic clock: when the latest usable answer came
        self._failures = 0  # refusals and replies without a message
        self._under_way = 0
        self._lost_alone = False  # the latest request was given up while no other could show that all is well
        self._held_until = -math.inf  # by the monotonic clock: the endpoint asked that nothing be sent before
        self.used = EndpointUsage()
        """What the replies so far used."""

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion:
        """Ask the endpoint for one response.

        Raises PromptTooLong where the endpoint says that the prompt exceeds its context, EpisodeFailed for a request
        that fails for good, and RolloutsFailed where every request would.
        """
        async with self._slots:
            self._under_way += 1
            try:
                reply = await self._reply(messages, parameters(self._options, sampling, seed), seed)
            finally:
                self._under_way -= 1
        choice = _first_choice(reply)
        message = getattr(choice, "message", None)
        if message is None:
            self._fail(NO_ANSWER, f"{self._named} replies without a message: {_short(str(reply))}")
        text = _text(message)
        if text is None:
            self._fail(NO_ANSWER, f"{self._named} replies with a message that is no text: {_short(str(message))}")
        self._answered_at, self._lost_alone = time.monotonic(), False
        return Completion(
            prompt_ids=np.zeros(0, np.int32),
            token_ids=np.zeros(0, np.int32),
            logprobs=np.zeros(0, np.float32),
            text=text,
            finish_reason=getattr(choice, "finish_reason", None) or "",
            policy_version=0,
        )

    async def close(self) -> None:
        """Close its connections. It is of no use afterwards."""
        await self._client.close()

    async def _reply(self, messages: tuple[Message, ...], body: Mapping[str, Any], seed: int) -> Any:
        """What the endpoint replies in the end. Waits, and asks again, as long as `patience_s` lasts."""
        failed_at = math.inf
        for attempt in count():
            while (held_s := self._held_until - time.monotonic()) > 0:
                await asyncio.sleep(held_s)
            try:
                reply = await self._asked(messages, body)
            except ValueError as error:  # it is said to be JSON, and is not
                self._fail(NO_ANSWER, f"{self._named} replies with broken JSON: {error}")
            except (openai.APIError, TimeoutError) as error:
                self._check_may_pass(error)
                failed_at = min(failed_at, time.monotonic())
                await asyncio.sleep(self._wait_s(error, attempt, seed, failed_at))
            else:
                self._reached = True
                self.used += usage_of(reply)
                return reply
        raise AssertionError("count() does not end")

    async def _asked(self, messages: tuple[Message, ...], body: Mapping[str, Any]) -> Any:
        """The reply to one request. Raises TimeoutError for one that comes too slowly.

        The client itself limits each read alone: a server that sends blanks while it works would never be too slow.
        """
        async with asyncio.timeout(self._timeout_s):
            return await self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": message.role, "content": message.content} for message in messages],  # pyright: ignore
                extra_body=dict(body),
            )

    def _wait_s(self, error: Failure, attempt: int, seed: int, failed_at: float) -> float:
        """Seconds until the next try. What the endpoint asks for holds all requests, a wait of our own this one.

        Gives up when patience has ended, or ends before the endpoint wants to be asked. A wait of our own that is
        longer than what is left ends with it: else a request would fail before others can show that all is well.
        """
        now = time.monotonic()
        asked_s = wait_asked(error.response.headers) if isinstance(error, openai.APIStatusError) else None
        if asked_s is not None:
            self._held_until = max(self._held_until, now + asked_s)
        left_s = failed_at - now + self._patience_s
        if left_s <= 0 or (asked_s is not None and asked_s > left_s):
            self._give_up(error, failed_at, asked_s)
        return min(left_s, _pause_s(asked_s, attempt, seed))

    def _check_may_pass(self, error: Failure) -> None:
        """Return if another try may succeed, else raise what fits."""
        if isinstance(error, TimeoutError) or (isinstance(error, openai.APITimeoutError) and not _unconnected(error)):
            return
        if isinstance(error, openai.APIConnectionError):
            if not self._reached:
                raise RolloutsFailed(
                    f"nothing answers at {self._named}: start the server, or correct the address"
                ) from error
            return
        self._reached = True
        if not isinstance(error, openai.APIStatusError):
            self._fail(NO_ANSWER, f"{self._named} replies with what is no answer: {_short(_words(error))}")
        status, what = error.status_code, _short(_words(error))
        if (status in PASSING or status >= 500) and error.code != "insufficient_quota":
            return
        if _too_long(error):
            raise PromptTooLong(what) from error
        if status in ONE_REQUEST:
            self._fail(REFUSED, f"{self._named} refuses a request for {self._told.model}={self._model!r}: {what}")
        raise RolloutsFailed(
            f"{self._named} refuses {self._told.model}={self._model!r}: {what}: check the address, which often ends "
            f"in /v1, the name, and {self._told.key}"
        ) from error

    def _fail(self, reason: str, what: str) -> NoReturn:
        """Fail one rollout; or all of them, where the endpoint has answered none of the first requests."""
        self._failures += 1
        if self._failures >= MANY and self._answered_at == -math.inf:
            raise RolloutsFailed(f"{what}; so ended each of the first {MANY} requests: see {self._told.request}")
        raise EpisodeFailed(reason, what, final=reason == REFUSED)

    def _give_up(self, error: Failure, failed_at: float, asked_s: float | None) -> NoReturn:
        """Fail one rollout; or all of them, where no request was answered while this one waited.

        Of a request that waited alone nobody knows whose fault it is: the second in a row fails all.
        """
        patience = f"{self._told.patience}={self._patience_s:g}"
        what = _short(_words(error))
        if asked_s is not None and asked_s > self._patience_s > 0:
            raise RolloutsFailed(
                f"{self._named} asks to wait for {asked_s:.0f} s ({what}), longer than {patience}: raise it, or go on "
                "later"
            ) from error
        alone = self._under_way == 1 and self._answered_at > -math.inf and isinstance(error, openai.APIStatusError)
        if self._answered_at < failed_at and (self._lost_alone or not alone):
            raise RolloutsFailed(
                f"{self._named} has answered nothing for {patience} (the last: {what}): raise it, or mend the server"
            ) from error
        self._lost_alone = self._answered_at < failed_at
        raise EpisodeFailed(NOT_SERVED, f"{self._named} for {patience}: {what}", final=True) from error

    @property
    def _named(self) -> str:
        return f"{self._told.url}={self._client.base_url}"


def _pause_s(asked_s: float | None, attempt: int, seed: int) -> float:
    """What is asked for, but not so little that requests follow one another in a rush; else longer with each try."""
    if asked_s is not None:
        return max(asked_s, FIRST_WAIT_S)
    spread = 0.5 + seed % 1024 / 2048  # so that requests that failed together do not come together
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(attempt, 10)) * spread


def _unconnected(error: openai.APITimeoutError) -> bool:
    """Whether no machine has taken up the connection in time; else the answer was late."""
    return type(error.__cause__).__name__ == "ConnectTimeout"  # of httpx or httpx2, whichever the client is built on


def _words(error: Failure) -> str:
    """What the endpoint says is wrong: in the field that the client reads, else in all of its reply but a page."""
    if isinstance(error, TimeoutError):
        return "Request timed out."
    if not isinstance(error, openai.APIStatusError) or error.message != f"Error code: {error.status_code}":
        return error.message
    body = error.body if isinstance(error.body, str) else json.dumps(error.body, ensure_ascii=False)
    return f"{error.message} - {' '.join(body.split())}" if error.body and not body.startswith("<") else error.message


def _first_choice(reply: Any) -> Any:
    """The first of the reply's choices; None where it has no list of them."""
    choices = getattr(reply, "choices", None)
    return cast(list[Any], choices)[0] if isinstance(choices, list) and choices else None


def _too_long(error: openai.APIStatusError) -> bool:
    """Whether the prompt is what the endpoint refuses, because its context has no room for it."""
    message = _words(error).lower()
    if error.code == "context_length_exceeded" or "context length" in message:
        return True
    if error.status_code not in (400, 413):  # other refusals may speak of a context too
        return False
    return error.type == "exceed_context_size_error" or any(words in message for words in TOO_LONG)


def _text(message: Any) -> str | None:
    """The message as a model writes it: a thought that the server returns apart stands in its tags before the rest.

    None if it is no text.
    """
    content = _content(getattr(message, "content", message))
    thoughts = [getattr(message, name, None) for name in REASONING]
    thought = next((text for text in thoughts if isinstance(text, str) and text.strip()), None)
    if content is None or thought is None or content.lstrip().startswith("<think>"):
        return content
    return f"<think>{thought}</think>{content}"


def _content(content: Any) -> str | None:
    """The text of a message's content, which some servers send in parts of text and of thought; None if it is none."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return None
    texts = {"thinking": "", "text": ""}
    for raw in cast(list[Any], content):
        if (part := _part(raw)) is None:
            return None
        kind, text = part
        texts[kind] += text
    thought, answer = texts["thinking"], texts["text"]
    return f"<think>{thought}</think>{answer}" if thought.strip() else answer


def _part(part: Any) -> tuple[str, str] | None:
    """The kind and the text of one part, be it thinking or text; None for any other.

    >>> _part({"type": "text", "text": "go"}), _part({"type": "thinking", "thinking": [{"type": "text", "text": "on"}]})
    (('text', 'go'), ('thinking', 'on'))
    """
    match part:
        case {"type": "text", "text": str(text)}:
            return "text", text
        case {"type": "thinking", "thinking": thought}:
            text = _content(thought)  # Mistral's servers send a thought in parts too
            return None if text is None else ("thinking", text)
        case _:
            return None


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]} ..."
