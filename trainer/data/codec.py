"""Text to token ids through the tokenizer's chat template, and token ids back to text."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers import PreTrainedTokenizerBase

from envs.prompts import Message
from rollout.policy import Exchange
from rollout.types import Ids
from trainer.config.build import ModelError
from trainer.data.spelling import Speller
from trainer.data.template import END_OF_THINK, TAGS, THINK, added_tokens, render, stop_ids, turn_marks
from trainer.data.tokenizer import load_tokenizer


class ChatCodec:
    """A tokenizer with a chat template, from a Hugging Face folder or id.

    What the template writes around the policy's turns is found by rendering: the token that ends a turn, which need not
    be the tokenizer's eos, and a thought that the prompt opens. Raises ModelError for a tokenizer without a chat
    template, and for a template that ends the policy's turn with no token.
    """

    def __init__(self, model: Path | str) -> None:
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(str(model))
        if not self.tokenizer.chat_template:
            raise ModelError(
                f"{model} has no chat template: take an instruct model, or add chat_template to its tokenizer"
            )
        self.marks = turn_marks(str(model), self.tokenizer)
        self.stop_ids: tuple[int, ...] = stop_ids(str(model), self.tokenizer, self.marks)
        self._speller = Speller(self.tokenizer, _control_names(self.tokenizer, self.marks.end_id))
        special = _special_tokens(self.tokenizer)
        self._special_tags = frozenset(number for number, name in special.items() if name in TAGS)
        self._silent = frozenset(special) - self._special_tags

    def encode(self, messages: tuple[Message, ...], before: Exchange | None = None) -> Ids:
        """Ids of a prompt, including the opening of the policy's turn. int32 [P]

        If the messages continue the exchange `before`, its prompt and response ids are kept and only what follows is
        tokenised: tokenising the text of a sampled response again seldom gives the sampled ids. A name of a control
        token inside a message is encoded as text.
        """
        text = self._text(messages)
        if before is not None and (rest := self._rest(text, messages, before)) is not None:
            completion = before.completion
            return np.concatenate([completion.prompt_ids, completion.token_ids, rest])
        return self._ids(text)

    def encode_response(self, text: str) -> Ids:
        """Ids of the response `text` and the end of the turn, as a policy would sample them. int32 [R]

        Where the prompt opens a thought, the response goes on inside it.
        """
        inner = self.as_sampled(text).removeprefix(self.marks.thought)
        return np.concatenate([self._ids(self._speller.marked(inner)), self._ids(self.marks.end)])

    def as_sampled(self, text: str) -> str:
        """A written response as `decode` would give it: where the prompt opens a thought, begun with that thought.

        A response without a thought closes the opened one at once.
        """
        thought = self.marks.thought
        if not thought or text.startswith(thought):
            return text
        if text.startswith(THINK):
            return thought + text.removeprefix(THINK).removeprefix(thought.removeprefix(THINK))
        return f"{thought}\n{END_OF_THINK}\n\n{text}"

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, without special tokens; begun with the thought that the prompt opened, if it did.

        The tags that an answer is read by stay, also where the tokenizer marks them as special.
        """
        spoken = ids[:-1] if len(ids) and ids[-1] in self.stop_ids else ids
        has_tags = not self._special_tags.isdisjoint(spoken)
        if has_tags:
            spoken = [number for number in spoken if number not in self._silent]
        return self.marks.thought + str(
            self.tokenizer.decode(cast(list[int], spoken), skip_special_tokens=not has_tags)
        )

    def _rest(self, text: str, messages: tuple[Message, ...], before: Exchange) -> Ids | None:
        """What follows the response of `before` in the rendered text; None if the messages do not continue it."""
        completion, past = before.completion, len(before.messages)
        if messages[: past + 1] != (*before.messages, Message(role="assistant", content=completion.text)):
            return None
        rest = self._after_answer(text, self._text(before.messages), completion.text)
        if rest is None or completion.token_ids[-1] not in self.stop_ids:
            return None if rest is None else self._ids(rest)
        if not rest.lstrip().startswith(self.marks.end.lstrip()):
            return self._ids(rest)
        # The end is encoded with what follows it, because some of these tokens swallow the white space behind them.
        ids = self._ids(rest)
        return ids[ids.tolist().index(self.marks.end_id) + 1 :]

    def _after_answer(self, text: str, prompt: str, answer: str) -> str | None:
        """What is rendered behind prompt and answer; None without them. Templates may change outer spaces."""
        if not text.startswith(prompt):
            return None
        sampled, behind = self._speller.marked(answer.removeprefix(self.marks.thought)), text[len(prompt) :]
        for answered, start in ((behind, sampled), (behind.lstrip(), sampled.strip())):
            if answered.startswith(start):
                return answered[len(start) :]
        return None

    def _text(self, messages: Sequence[Message]) -> str:
        marked = [replace(message, content=self._speller.marked(message.content)) for message in messages]
        return render(self.tokenizer, marked, prompt=True)

    def _ids(self, text: str) -> Ids:
        return np.asarray(self._speller.encode(text), np.int32)


def _control_names(tokenizer: PreTrainedTokenizerBase, end_id: int) -> set[str]:
    """The texts that the tokenizer reads as control tokens. The tags of an answer are none: a prompt may name them."""
    special = set(_special_tokens(tokenizer).values())
    end = {name for name, number in added_tokens(tokenizer).items() if number == end_id}
    return (special | set(tokenizer.all_special_tokens) | end) - TAGS


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The names of the added tokens that the tokenizer marks as special, by id: `decode` leaves them out."""
    tokens = cast(Any, tokenizer).added_tokens_decoder
    return {number: token.content for number, token in tokens.items() if token.special}
