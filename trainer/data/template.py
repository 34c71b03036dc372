"""What a chat template writes around an answer, found by rendering: the end of the turn, and a thought it opens."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from envs.prompts import Message
from trainer.config.build import ModelError
from trainer.data.tokenizer import model_json

QUESTION, ANSWER = "a question of stepcredit", "an answer of stepcredit"  # no template changes these
THINK, END_OF_THINK = "<think>", "</think>"
TAGS = frozenset({THINK, END_OF_THINK, "<action>", "</action>"})
"""What an answer is read by: text, also where a tokenizer marks them as special."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMarks:
    """What a template writes around an answer."""

    end: str
    """What follows an answer up to the token that ends the turn, such as "<|im_end|>"."""
    end_id: int
    """That token."""
    thought: str
    """The thought that a prompt ends with, such as "<think>\\n"; empty if the policy opens its thoughts itself."""


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, prompt: bool) -> str:
    """The messages as the tokenizer's chat template writes them. prompt: open the policy's turn at the end."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=prompt, tokenize=False))


def added_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The tokens that the tokenizer reads by their name wherever a text has it, control tokens among them, by name."""
    return cast(Any, tokenizer).get_added_vocab()


def turn_marks(model: str, tokenizer: PreTrainedTokenizerBase) -> TurnMarks:
    """What the model's chat template writes around the policy's turn.

    Raises ModelError for a template that does not end the policy's turn with a token of its own.
    """
    question = Message(role="user", content=QUESTION)
    try:
        text = render(tokenizer, (question, Message(role="assistant", content=ANSWER)), prompt=False)
        _, _, opening = render(tokenizer, (question,), prompt=True).rpartition(QUESTION)
    except TemplateError as error:
        raise ModelError(f"the chat template of {model} renders no question and answer ({error}): mend it") from error
    _, _, after = text.rpartition(ANSWER)
    token_ids = added_tokens(tokenizer)
    names = "|".join(re.escape(name) for name in sorted(token_ids, key=len, reverse=True) if name.strip())
    end = re.match(rf"\s*({names})", after) if names and ANSWER in text else None
    if end is None:
        raise ModelError(
            f"the chat template of {model} ends an answer with {after[:20]!r}, not with a token, so that no end can be "
            "learned or sampled: take an instruct model, or end the assistant's turns with eos_token in chat_template"
        )
    _, think, thought = opening.rpartition(THINK)
    return TurnMarks(
        end=end[0], end_id=token_ids[end[1]], thought=think + thought if think and END_OF_THINK not in thought else ""
    )


def stop_ids(model: str, tokenizer: PreTrainedTokenizerBase, marks: TurnMarks) -> tuple[int, ...]:
    """What ends a response: the template's end of turn, the tokenizer's eos, and the ends in the model's config."""
    ids: list[Any] = [marks.end_id, tokenizer.eos_token_id]
    for name in ("generation_config.json", "config.json"):
        ids += _eos_ids(model_json(model, name))
    return tuple(sorted({number for number in ids if isinstance(number, int)}))


def _eos_ids(config: Mapping[str, Any]) -> list[Any]:
    value = config.get("eos_token_id")
    return value if isinstance(value, list) else [value]
