"""Text as a word of the command line, by Hydra's grammar. Imports nothing heavy."""

import re

SINGLE = "'"
"""The quotes of the words that name a cell's folders."""
_PLAIN = re.compile(r"[\w./-]+", re.ASCII)  # text that needs no quotes in an override
_OTHERS = frozenset({"true", "false", "null", "inf", "nan"})  # what Hydra takes for values of another type


def quoted(text: str, mark: str = '"') -> str:
    """The text in quotes of this kind. Hydra reads every backslash as it is, but those before such a quote.

    >>> print(quoted('a "b"'), quoted("é"), quoted("C:\\\\"))
    "a \\"b\\"" "é" "C:\\\\"
    """
    escaped = re.sub(rf"(\\*){mark}", rf"\1\1\\{mark}", text)
    return mark + re.sub(r"(\\+)\Z", r"\1\1", escaped) + mark


def word(text: str) -> str:
    """The text as a value: in quotes only where Hydra would else read something else.

    >>> print(word("a/b.c"), word("a b"), word("true"), word("1e5"))
    a/b.c "a b" "true" "1e5"
    """
    return text if _PLAIN.fullmatch(text) and not _is_another_type(text) else quoted(text)


def _is_another_type(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower().lstrip("+-") in _OTHERS
    return True
