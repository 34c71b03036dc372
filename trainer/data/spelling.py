"""Names of control tokens in texts of the world: they are encoded as text, and never become the tokens."""

import re
from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from trainer.data.template import added_tokens

MARK = "\ue000"
"""Stands around the number of a name while a template is rendered. A character for private use: texts seldom have it,
and where one does, it is marked too."""


class Speller:
    """Marks the names of control tokens in a text, and encodes marked texts.

    A tokenizer reads the name of a control token as the token. So names are marked in each message before the template
    is rendered, and the rendered text, with the template's own control tokens, is encoded piece by piece.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, names: Iterable[str]) -> None:
        self._tokenizer = tokenizer
        self._names = [MARK, *sorted(names, key=len, reverse=True)]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._pattern = re.compile("|".join(map(re.escape, self._names)))
        self._spelled: dict[int, list[int]] = {}

    def marked(self, text: str) -> str:
        """The text with a marked number in place of each name. Most texts have no name and stay as they are."""
        return self._pattern.sub(lambda name: f"{MARK}{self._numbers[name[0]]}{MARK}", text)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text whose names are marked."""
        if MARK not in text:
            return self._ids(text)
        ids: list[int] = []
        for at, piece in enumerate(text.split(MARK)):  # by turns a text between marks and the number between two marks
            ids += self._spell(int(piece)) if at % 2 else self._ids(piece)
        return ids

    def _spell(self, number: int) -> list[int]:
        """The ids of a name as text: none of them is a control token."""
        if number not in self._spelled:
            name = self._names[number]
            ids = self._ids(name, split_special_tokens=True)
            if added_tokens(self._tokenizer).get(name) in ids:  # an added token that is not marked as special
                ids = [part for letter in name for part in self._ids(letter)]
            self._spelled[number] = ids
        return self._spelled[number]

    def _ids(self, text: str, **options: bool) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False, verbose=False, **options)  # pyright: ignore
