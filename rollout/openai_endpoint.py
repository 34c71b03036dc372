"""The one file that knows the OpenAI client: any chat-completions endpoint as a policy to evaluate."""

import asyncio
import logging

import numpy as np
import openai

from envs.prompts import Message
from rollout.collect import RolloutsFailed
from rollout.policy import Exchange, Key
from rollout.types import Completion, Sampling


class EndpointPolicy:
    """A chat-completions endpoint, for evaluation only: it returns text, no ids and no log-probs.

    At most `concurrency` requests are under way at once. The key is read from OPENAI_API_KEY where there is one.
    """

    def __init__(self, *, url: str, model: str, concurrency: int = 32, api_key: str = "none") -> None:
        for chatty in ("httpx", "openai"):  # a line for every request
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._client = openai.AsyncOpenAI(base_url=url, api_key=api_key)
        self._model = model
        self._places = asyncio.Semaphore(concurrency)

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion:
        """Raises RolloutsFailed where the endpoint does not answer, after the client's own retries, or refuses."""
        async with self._places:
            try:
                answer = await self._client.chat.completions.create(
                    model=self._model,
                    messages=[{"role": message.role, "content": message.content} for message in messages],  # pyright: ignore
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    max_completion_tokens=sampling.max_tokens,
                    seed=seed,
                )
            except openai.APIConnectionError as error:
                raise RolloutsFailed(
                    f"nothing answers at endpoint={self._client.base_url}: start the server, or correct the address"
                ) from error
            except openai.APIStatusError as error:
                raise RolloutsFailed(
                    f"endpoint={self._client.base_url} refuses model.source={self._model!r}: {error.message}"
                ) from error
        choice = answer.choices[0]
        return Completion(
            prompt_ids=np.zeros(0, np.int32),
            token_ids=np.zeros(0, np.int32),
            logprobs=np.zeros(0, np.float32),
            text=choice.message.content or "",
            finish_reason=choice.finish_reason,
            policy_version=0,
        )
