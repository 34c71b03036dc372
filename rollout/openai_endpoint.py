"""The one file that knows the OpenAI client: any chat-completions endpoint as a policy to evaluate."""

import asyncio
import logging

import numpy as np
import openai

from envs.prompts import Message
from rollout.collect import RolloutsFailed
from rollout.policy import Exchange, Independent, Key
from rollout.types import Completion, Sampling


class EndpointPolicy(Independent):
    """A chat-completions endpoint, for evaluation only: it returns text, no token ids and no log-probs."""

    def __init__(self, *, url: str, model: str, concurrency: int = 32, api_key: str = "none") -> None:
        """At most `concurrency` requests are under way at once."""
        for name in ("httpx", "openai"):  # both log a line for each request
            logging.getLogger(name).setLevel(logging.WARNING)
        self._client = openai.AsyncOpenAI(base_url=url, api_key=api_key)
        self._model = model
        self._slots = asyncio.Semaphore(concurrency)

    async def complete(
        self, messages: tuple[Message, ...], before: Exchange | None, *, sampling: Sampling, seed: int, key: Key
    ) -> Completion:
        """Raises RolloutsFailed if the endpoint refuses, or does not answer after the client's own retries."""
        async with self._slots:
            try:
                response = await self._client.chat.completions.create(
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
        choice = response.choices[0]
        return Completion(
            prompt_ids=np.zeros(0, np.int32),
            token_ids=np.zeros(0, np.int32),
            logprobs=np.zeros(0, np.float32),
            text=choice.message.content or "",
            finish_reason=choice.finish_reason,
            policy_version=0,
        )
