"""Between text and token ids: the tokenizer's chat template one way, plain decoding the other."""

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
    """A tokenizer with a chat template, from a Hugging Face folder or id. Raises ModelError without a template."""

    def __init__(self, model: Path | str) -> None:
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(model))
        if not self.tokenizer.chat_template:
            raise ModelError(
                f"{model} has no chat template: take an instruct model, or add chat_template to its tokenizer"
            )
        if self.tokenizer.eos_token_id is None:
            raise ModelError(f"{model} has no end-of-turn token: set eos_token in its tokenizer")

    def encode(self, messages: tuple[Message, ...], before: Exchange | None = None) -> Ids:
        """Prompt ids, the opening of the policy's turn included. int32 [P]

        Where the messages go on from `before`, its prompt and response ids are kept and only what follows is
        tokenised: sampled tokens are seldom the ones that their text would be cut into again.
        """
        text = self._text(messages)
        if before is not None and (rest := self._rest(text, messages, before)) is not None:
            said = before.completion
            return np.concatenate([said.prompt_ids, said.token_ids, self._ids(rest)])
        return self._ids(text)

    def encode_response(self, text: str) -> Ids:
        """What the policy would have to say to answer `text`: its ids and the end of the turn. int32 [R]"""
        return np.append(self._ids(text), np.int32(cast(int, self.tokenizer.eos_token_id)))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(cast(list[int], ids), skip_special_tokens=True))

    def _rest(self, text: str, messages: tuple[Message, ...], before: Exchange) -> str | None:
        """What comes after `before`'s response in the rendered text; None where the messages do not go on from it."""
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
