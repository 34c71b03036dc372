"""Rows for supervised fine-tuning, from demonstrations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.prompts import Prompter
from rollout.policy import Exchange, continues
from rollout.revise import PROMPT
from rollout.types import Completion, Ids
from trainer.config.build import ConfigError
from trainer.data.codec import ChatCodec
from trainer.data.demos import Demo, rendered_turns
from trainer.data.tokens import TokenBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervised:
    """What demonstrations teach."""

    batch: TokenBatch
    """The rows."""
    too_long: int
    """The expert's steps without a row: even their shortest prompt, their response, or that of a turn before, is too
    long."""


def supervised(
    demos: Sequence[Demo],
    prompter: Prompter,
    codec: ChatCodec,
    *,
    history: int,
    prompt_tokens: int,
    response_tokens: int,
    observations: bool = False,
    revise_prompt: str = PROMPT,
) -> Supervised:
    """The expert's own steps of all demonstrations as rows. Prompts are a rollout's; responses end the turn.

    prompt_tokens: the longest prompt, `model.prompt_tokens`. As a rollout does, a longer one shows fewer past turns and
    actions, and a demonstration ends where even the shortest is too long. It also ends where the response has more than
    response_tokens, `model.response_tokens`, which no rollout could finish. Raises ConfigError where no row is left.
    observations: what the prompt of a turn adds to the turn before is a row too, of which the added tokens are learned;
    of a first prompt, all tokens but the first. A prompt that shows the past in other words adds no row.
    """
    rows = list[tuple[Ids, Ids, int, int]]()  # prompt, response, trajectory, time
    total = left = expert_steps(demos)
    for number, demo in enumerate(demos):
        turns = rendered_turns(
            demo, prompter, history=history, as_sampled=codec.as_sampled, revise_prompt=revise_prompt
        )
        before: Exchange | None = None
        for at, (step, (shorter, text)) in enumerate(zip(demo.steps, turns, strict=True)):
            encoded = ((asked.messages, codec.encode(asked.messages, before)) for asked in shorter)
            fitting = next((pair for pair in encoded if len(pair[1]) <= prompt_tokens), None)
            response = codec.encode_response(text)
            if fitting is None or len(response) > response_tokens:
                break
            messages, prompt = fitting
            if observations and (before is None or continues(prompt, before)):
                known = 1 if before is None else len(before.completion.prompt_ids) + len(before.completion.token_ids)
                if len(prompt) > known:
                    rows.append((prompt[:known], prompt[known:], number, 2 * at))
            if step.by_expert:
                rows.append((prompt, response, number, 2 * at + 1))
                left -= 1
            before = Exchange(messages=messages, completion=_completion(prompt, response, text))
    if left == total > 0:
        raise ConfigError(
            f"no step of the expert's fits model.prompt_tokens={prompt_tokens} and "
            f"model.response_tokens={response_tokens}: raise them"
        )
    prompts, responses, trajectory, time = zip(*rows, strict=True)
    batch = TokenBatch.from_rows(prompts, responses, trajectory=trajectory, time=time)
    return Supervised(batch=batch, too_long=left)


def expert_steps(demos: Sequence[Demo]) -> int:
    """The steps of the expert itself: those whose actions are learned."""
    return sum(step.by_expert for demo in demos for step in demo.steps)


def _completion(prompt: Ids, response: Ids, text: str) -> Completion:
    """A demonstrated response, as if a policy had been certain of it."""
    return Completion(
        prompt_ids=prompt,
        token_ids=response,
        logprobs=np.zeros(len(response), np.float32),
        text=text,
        finish_reason="stop",
        policy_version=0,
    )
