"""What passes between the driver and an engine's process.

Both records define `__reduce__`: the pickling that dataclasses bring runs in Python and costs several times as much.
"""

from dataclasses import dataclass
from typing import Any


class EngineDead(RuntimeError):
    """vLLM's own process inside an engine is gone."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt for an engine to answer, and how to sample the answer."""

    name: str
    """Unique among the requests under way: the request's key and seed, joined by hyphens."""
    prompt_ids: list[int]
    """Token ids of the prompt. [P]"""
    temperature: float
    """0 is greedy."""
    top_p: float
    """Sample from the smallest set of tokens with this total probability; 1 keeps all tokens."""
    max_tokens: int
    """The longest response, in tokens."""
    seed: int | None
    """Of this request's sampling; None for greedy sampling, which draws nothing."""
    stop_ids: tuple[int, ...]
    """Tokens that end the response, beside the engine's own. The one that is sampled stays in the answer."""

    def __reduce__(self) -> tuple[Any, ...]:
        sampling = (self.temperature, self.top_p, self.max_tokens, self.seed, self.stop_ids)
        return Request, (self.name, self.prompt_ids, *sampling)


@dataclass(frozen=True, slots=True)
class Answer:
    """An engine's response to one `Request`."""

    token_ids: list[int]
    """The sampled token ids. [R]"""
    logprobs: list[float]
    """Of each sampled token, in nats, under the distribution it was drawn from. [R]"""
    finish_reason: str
    """As vLLM names it: "stop" or "length"."""
    policy_version: int
    """The version of the weights that sampled the tokens."""
    cached_tokens: int
    """Tokens of the prompt that vLLM found in its prefix cache."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Answer, (self.token_ids, self.logprobs, self.finish_reason, self.policy_version, self.cached_tokens)
