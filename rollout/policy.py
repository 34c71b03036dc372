"""Policies: what answers a prompt; and the policy of our own engines, with token ids in and out."""

import asyncio
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np

from envs.prompts import Message
from rollout.messages import Answer, Request
from rollout.pace import Pace
from rollout.pool import EpisodeFailed
from rollout.routing import Router
from rollout.types import Completion, Ids, Sampling
from rollout.usage import EngineUsage, UsageAccount

ENCODERS = ThreadPoolExecutor(thread_name_prefix="encode")
"""Threads in which prompts become tokens."""
BAD_LOGPROBS = "bad_logprobs"
"""Why a rollout failed in which the engine gave a token a log-prob that is not a finite number."""

Key = tuple[int, ...]
"""(task number, sibling, ..., step). Names a request and orders it among others."""


class PromptTooLong(ValueError):
    """The policy does not take so long a prompt. The message gives the length and the limit, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One prompt and its answer: the previous turn of the same rollout."""

    messages: tuple[Message, ...]
    """The prompt, as a chat."""
    completion: Completion
    """The policy's answer to it."""


class Codec(Protocol):
    """The tokenizer as rollouts need it: messages to prompt ids, response ids to text."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end a response."""
        ...

    def encode(self, messages: tuple[Message, ...], before: Exchange | None) -> Ids:
        """Token ids of a prompt. int32 [P]

        before: the previous turn of the rollout. If `messages` continue it, the result begins with exactly its prompt
        and response ids: nothing is tokenised twice.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a response, without special tokens; it begins with the thought that the prompt opened, if any."""
        ...


class Session(Protocol):
    """A policy while one collection lasts."""

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion:
        """Answer one prompt. Raises PromptTooLong, or EpisodeFailed where no answer can be had."""
        ...

    def enter(self, rollouts: int) -> None:
        """So many more rollouts will ask than the session was opened for."""
        ...

    def leave(self) -> None:
        """Called once for each rollout, when it has ended and will ask nothing more."""
        ...

    def usage(self) -> EngineUsage | None:
        """What the engines did in this session; None for a policy that has none of its own."""
        ...


class Policy(Protocol):
    """Answers prompts, in sessions."""

    def session(self, rollouts: int) -> AbstractContextManager[Session]:
        """Open a session for a collection of `rollouts` rollouts."""
        ...


class Independent:
    """Base of the policies that answer each request by itself: such a policy is its own session."""

    __slots__ = ()

    @contextmanager
    def session(self, rollouts: int) -> Generator[Self]:
        del rollouts
        yield self

    def enter(self, rollouts: int) -> None:
        pass

    def leave(self) -> None:
        pass

    def usage(self) -> EngineUsage | None:
        return None


class Asked(Protocol):
    """Takes calls to an engine."""

    async def acall(self, method: str, *args: Any) -> Any:
        """Call and wait."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePolicy(Independent):
    """vLLM engines behind one policy.

    The first prompts of a task's rollouts go to one engine, and so does a prompt that continues the turn before: they
    find their beginning in its prefix cache. All others go to the engine with the fewest requests (`Router`). Where
    many rollouts share an engine, their requests go there evenly spaced (`Pace`).
    """

    engines: tuple[Asked, ...]
    """Where requests to a `vllm_engine.Engine` go; at least one."""
    codec: Codec
    """The engines' tokenizer."""
    prompt_tokens: int
    """The longest prompt that is sent, in tokens."""
    router: Router = field(init=False)
    """What the engines have to do at present."""
    paces: tuple[Pace, ...] = field(init=False)
    """When each of them gets its next request."""
    account: UsageAccount = field(init=False)
    """What they have done."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "router", Router(len(self.engines)))
        object.__setattr__(self, "paces", tuple(Pace() for _ in self.engines))
        object.__setattr__(self, "account", UsageAccount(len(self.engines)))

    @contextmanager
    def session(self, rollouts: int) -> Generator[Self]:
        """A policy without memory of earlier collections: a publish empties the engines' caches."""
        del rollouts
        yield replace(self)

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion:
        # Milliseconds, many rollouts at once. A request that waits for a new engine holds a thread of the loop's own.
        prompt_ids = await asyncio.get_running_loop().run_in_executor(ENCODERS, self.encode, messages, before)
        *rollout, step = key
        shares = (key[0],) if step == 0 else (*rollout, "on") if continues(prompt_ids, before) else None
        with self.router.engine(shares, leaves=(*rollout, "on")) as number:
            request = self.request(prompt_ids, sampling, seed, key)
            async with self.paces[number].asking(turn=step):
                with self.account.asking(number):
                    answer: Answer = await self.engines[number].acall("complete", request)
        return self.completion(prompt_ids, answer)

    def usage(self) -> EngineUsage:
        return self.account.usage()

    def request(self, prompt_ids: Ids, sampling: Sampling, seed: int, key: Key) -> Request:
        """The request for an engine. A greedy one carries no seed."""
        return Request(
            name="-".join(str(part) for part in (*key, seed)),
            prompt_ids=prompt_ids.tolist(),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=seed if sampling.temperature > 0 else None,
            stop_ids=self.codec.stop_ids,
        )

    def engine_number(self, key: Key) -> int:
        """Which engine answers the requests of this key's task where waves must be the same in every run."""
        return key[0] % len(self.engines)

    def encode(self, messages: tuple[Message, ...], before: Exchange | None) -> Ids:
        """Token ids of a prompt, int32 [P]. Raises PromptTooLong above `prompt_tokens`."""
        prompt_ids = self.codec.encode(messages, before)
        if len(prompt_ids) > self.prompt_tokens:
            raise PromptTooLong(f"prompt of {len(prompt_ids)} tokens, the limit is {self.prompt_tokens}")
        return prompt_ids

    def completion(self, prompt_ids: Ids, answer: Answer) -> Completion:
        """An engine's answer as a record with arrays and text. Raises EpisodeFailed if a log-prob is not finite."""
        self.account.count(len(prompt_ids), answer)
        logprobs = np.asarray(answer.logprobs, np.float32)  # [R]
        finite = np.isfinite(logprobs)
        if not finite.all():
            place = int(np.argmin(finite))
            raise EpisodeFailed(
                BAD_LOGPROBS,
                f"token {place} of {len(logprobs)} has log-prob {logprobs[place]} from the engine, which serves policy "
                f"version {answer.policy_version}: look for overflows, such as with another cluster.dtype",
            )
        return Completion(
            prompt_ids=prompt_ids,
            token_ids=np.asarray(answer.token_ids, np.int32),
            logprobs=logprobs,
            text=self.codec.decode(answer.token_ids),
            finish_reason=answer.finish_reason,
            policy_version=answer.policy_version,
        )


def continues(prompt_ids: Ids, before: Exchange | None) -> bool:
    """Whether the prompt begins with all tokens of the turn before: its prompt and its answer."""
    if before is None:
        return False
    said = np.concatenate([before.completion.prompt_ids, before.completion.token_ids])
    return len(prompt_ids) >= len(said) and np.array_equal(prompt_ids[: len(said)], said)
