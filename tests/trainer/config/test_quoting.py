"""Hydra reads back what was written, whatever it is."""

from collections.abc import Callable
from functools import partial

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from trainer.config.quoting import SINGLE, quoted, word

PARSER = OverridesParser.create()
TEXTS = [
    "",
    "é/ü",
    'a "b"',
    "it's",
    "C:\\",
    'x\\"y\\\\',
    "a\nb",
    " lead ",
    "${x}",
    "true",
    "Null",
    "-inf",
    "1e5",
    "007",
]


@pytest.mark.parametrize("write", [quoted, partial(quoted, mark=SINGLE), word])
@given(text=st.sampled_from(TEXTS) | st.text(alphabet=st.sampled_from("a1.e\\\"'é ${}[]=,~\n")))
def test_a_text_is_read_as_it_was_written(write: Callable[[str], str], text: str) -> None:
    assert PARSER.parse_override(f"key={write(text)}").value() == text


def test_a_plain_text_needs_no_quotes() -> None:
    assert [word(text) for text in ("gigpo", "a/b-c.d", "é", "16")] == ["gigpo", "a/b-c.d", '"é"', '"16"']
