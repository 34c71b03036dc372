"""Names of control tokens in texts of the world: they are encoded as text, and never become the tokens."""

import re
from collections.abc import Callable, Iterable
from typing import Any, cast

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from trainer.data.template import added_tokens

MARK = "\ue000"
"""Stands around the number of a name while a template is rendered. A character for private use: texts seldom have it,
and where one does, it is marked too."""


class Speller:
    """Marks the names of control tokens in a text, and encodes marked texts.

    A tokenizer reads the name of a control token as the token. So names are marked in each message before the template
    is rendered, and the rendered text, with the template's own control tokens, is encoded piece by piece. Threads may
    share it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, names: Iterable[str]) -> None:
        ordered = [MARK, *sorted(names, key=len, reverse=True)]
        self._numbers = {name: number for number, name in enumerate(ordered)}
        self._pattern = re.compile("|".join(map(re.escape, ordered)))
        self._spelled = [_spelled(tokenizer, name) for name in ordered]
        self._ids = _encoder(tokenizer)

    def marked(self, text: str) -> str:
        """The text with a marked number in place of each name. Most texts have no name and stay as they are."""
        return self._pattern.sub(lambda name: f"{MARK}{self._numbers[name[0]]}{MARK}", text)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text whose names are marked."""
        if MARK not in text:
            return self._ids(text)
        ids: list[int] = []
        for at, piece in enumerate(text.split(MARK)):  # by turns a text between marks and the number between two marks
            ids += self._spelled[int(piece)] if at % 2 else self._ids(piece)
        return ids


def _spelled(tokenizer: PreTrainedTokenizerBase, name: str) -> list[int]:
    """The ids of a name as text: none of them is a control token."""
    ids = _ids(tokenizer, name, split_special_tokens=True)
    if added_tokens(tokenizer).get(name) in ids:  # an added token that is not marked as special
        return [part for letter in name for part in _ids(tokenizer, letter)]
    return ids


def _encoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], list[int]]:
    """What gives the ids of a text. A tokenizer in Rust is called directly: in half the time, beside other threads."""
    _ids(tokenizer, "")  # leaves the one in Rust without truncation and padding
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return lambda text: _ids(tokenizer, text)
    rust = cast(Any, tokenizer).backend_tokenizer
    return lambda text: rust.encode_batch_fast([text], add_special_tokens=False)[0].ids


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, **options: bool) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False, verbose=False, **options)  # pyright: ignore
