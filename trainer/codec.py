"""Between text and token ids: the tokenizer's chat template one way, plain decoding the other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from envs.prompts import Message
from rollout.types import Ids
from trainer.model import ModelError


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

    def encode(self, messages: Sequence[Message]) -> Ids:
        """Prompt ids, the opening of the policy's turn included. int32 [P]"""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        ids = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
        return np.asarray(ids, np.int32)

    def encode_response(self, text: str) -> Ids:
        """What the policy would have to say to answer `text`: its ids and the end of the turn. int32 [R]"""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return np.asarray([*ids, self.tokenizer.eos_token_id], np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))
