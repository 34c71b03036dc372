"""Rows for supervised fine-tuning, from demonstrations."""

from collections.abc import Sequence

import numpy as np

from envs.prompts import Prompter
from rollout.policy import Exchange
from rollout.revise import PROMPT
from rollout.types import Completion, Ids
from trainer.data.codec import ChatCodec
from trainer.data.demos import Demo, rendered_turns
from trainer.data.tokens import TokenBatch


def supervised(
    demos: Sequence[Demo], prompter: Prompter, codec: ChatCodec, *, history: int, revise_prompt: str = PROMPT
) -> TokenBatch:
    """The expert's own steps of all demonstrations as rows. Prompts are a rollout's; responses end the turn."""
    prompts, responses = list[Ids](), list[Ids]()
    trajectory, time = list[int](), list[int]()
    for number, demo in enumerate(demos):
        turns = rendered_turns(
            demo, prompter, history=history, as_sampled=codec.as_sampled, revise_prompt=revise_prompt
        )
        before: Exchange | None = None
        for at, (step, (messages, text)) in enumerate(zip(demo.steps, turns, strict=True)):
            prompt, response = codec.encode(messages, before), codec.encode_response(text)
            before = Exchange(messages=messages, completion=_completion(prompt, response, text))
            if step.by_expert:
                prompts.append(prompt)
                responses.append(response)
                trajectory.append(number)
                time.append(at)
    return TokenBatch.from_rows(prompts, responses, trajectory=trajectory, time=time)


def learnable(demos: Sequence[Demo]) -> bool:
    """Whether the demonstrations have a step of the expert, which alone becomes a row."""
    return any(step.by_expert for demo in demos for step in demo.steps)


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
