"""Who answers a prompt; and our own engines, token ids in and out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from envs.prompts import Message
from rollout.ray_actors import Remote
from rollout.types import Completion, Ids, Sampling

Key = tuple[int, ...]  # (task number, sibling, ..., step): orders requests and names them
Request = tuple[str, list[int], dict[str, Any]]  # name, prompt ids, sampling options: what an engine is asked
Answer = tuple[list[int], list[float], str, int]  # ids, log-probs, finish reason, version: what it says


class PromptTooLong(ValueError):
    """A prompt that the policy does not take; the message names both lengths, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The turn before in the same rollout: what was asked and what came back."""

    messages: tuple[Message, ...]
    completion: Completion


class Codec(Protocol):
    """The tokenizer as rollouts need it: messages to prompt ids, response ids to text.

    Where the messages go on from `before`, the prompt begins with its very ids: nothing is tokenised twice.
    """

    def encode(self, messages: tuple[Message, ...], before: Exchange | None) -> Ids: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class Policy(Protocol):
    """Answers prompts. Raises PromptTooLong before anything is sent."""

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePolicy:
    """vLLM engines behind one policy. A task's rollouts share an engine, so that its prefix cache serves them all.

    prompt_tokens: the longest prompt that is sent.
    """

    engines: tuple[Remote, ...]
    codec: Codec
    prompt_tokens: int

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion:
        prompt_ids = self.encode(messages, before)
        answer: Answer = await self.engine(key).acall("complete", *request(prompt_ids, sampling, seed, key))
        return self.completion(prompt_ids, answer)

    def engine(self, key: Key) -> Remote:
        return self.engines[key[0] % len(self.engines)]

    def encode(self, messages: tuple[Message, ...], before: Exchange | None) -> Ids:
        prompt_ids = self.codec.encode(messages, before)
        if len(prompt_ids) > self.prompt_tokens:
            raise PromptTooLong(f"prompt of {len(prompt_ids)} tokens, the limit is {self.prompt_tokens}")
        return prompt_ids

    def completion(self, prompt_ids: Ids, answer: Answer) -> Completion:
        token_ids, logprobs, finish_reason, version = answer
        return Completion(
            prompt_ids=prompt_ids,
            token_ids=np.asarray(token_ids, np.int32),
            logprobs=np.asarray(logprobs, np.float32),
            text=self.codec.decode(token_ids),
            finish_reason=finish_reason,
            policy_version=version,
        )


def request(prompt_ids: Ids, sampling: Sampling, seed: int, key: Key) -> Request:
    """What an engine is asked; a greedy request carries no seed."""
    options = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens}
    if sampling.temperature > 0:
        options["seed"] = seed
    return "-".join(str(part) for part in (*key, seed)), prompt_ids.tolist(), options
