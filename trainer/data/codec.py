"""Text to token ids through the tokenizer's chat template, and token ids back to text."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from envs.prompts import Message
from rollout.policy import Exchange
from rollout.types import Ids
from trainer.config.build import ModelError


class ChatCodec:
    """A tokenizer with a chat template, from a Hugging Face folder or id.

    Raises ModelError for a tokenizer without a chat template or without an end-of-turn token.
    """

    def __init__(self, model: Path | str) -> None:
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(model))
        if not self.tokenizer.chat_template:
            raise ModelError(
                f"{model} has no chat template: take an instruct model, or add chat_template to its tokenizer"
            )
        if self.tokenizer.eos_token_id is None:
            raise ModelError(f"{model} has no end-of-turn token: set eos_token in its tokenizer")

    def encode(self, messages: tuple[Message, ...], before: Exchange | None = None) -> Ids:
        """Ids of a prompt, including the opening of the policy's turn. int32 [P]

        If the messages continue the exchange `before`, its prompt and response ids are kept and only what follows is
        tokenised: tokenising the text of a sampled response again seldom gives the sampled ids.
        """
        text = self._text(messages)
        if before is not None and (rest := self._rest(text, messages, before)) is not None:
            completion = before.completion
            return np.concatenate([completion.prompt_ids, completion.token_ids, self._ids(rest)])
        return self._ids(text)

    def encode_response(self, text: str) -> Ids:
        """Ids of the response `text` and the end of the turn, as a policy would sample them. int32 [R]"""
        return np.append(self._ids(text), np.int32(cast(int, self.tokenizer.eos_token_id)))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, without special tokens."""
        return str(self.tokenizer.decode(cast(list[int], ids), skip_special_tokens=True))

    def _rest(self, text: str, messages: tuple[Message, ...], before: Exchange) -> str | None:
        """What follows the response of `before` in the rendered text; None if the messages do not continue it."""
        if messages[: len(before.messages)] != before.messages:
            return None
        start = self._text(before.messages) + before.completion.text
        if not text.startswith(start):
            return None
        ended = before.completion.token_ids[-1] == self.tokenizer.eos_token_id
        rest = text[len(start) :]
        return rest.removeprefix(str(self.tokenizer.eos_token)) if ended else rest

    def _text(self, messages: Sequence[Message]) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        return str(self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))

    def _ids(self, text: str) -> Ids:
        return np.asarray(self.tokenizer.encode(text, add_special_tokens=False, verbose=False), np.int32)
