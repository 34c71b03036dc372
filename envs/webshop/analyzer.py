"""Turns text into search terms, as Lucene's English analyzer does.

It splits words by Unicode's rules (UAX #29), drops a possessive 's, lower-cases, drops stop words, and stems.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

import regex

from envs.webshop.stem import stem

_STOPS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
_STOP_WORDS = frozenset(_STOPS.split())
# A segment reaches from one word boundary to the next; without a letter, digit or emoji it is no word. The emoji are
# those of Unicode 12, as in Lucene: later versions of the table lost symbols such as the black star.
_ASCII_WORD = re.compile(r"\w+(?:(?:(?<=[A-Za-z])[:.'](?=[A-Za-z])|(?<=[0-9])[,;.'](?=[0-9]))\w+)*", re.ASCII)
_SEGMENT = regex.compile(r"(?V1ws).+?\b")
_EMOJI = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u2388\u23cf\u23e9-\u23f3\u23f8-\u23fa"
    "\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2714"
    "\u2716\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763-\u2767\u2795-\u2797\u27a1"
    "\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001f0ff\U0001f10d-\U0001f10f\U0001f12f\U0001f16c-\U0001f171\U0001f17e\U0001f17f\U0001f18e"
    "\U0001f191-\U0001f19a\U0001f1ad-\U0001f23a\U0001f23c-\U0001f23f\U0001f249-\U0001f3fa\U0001f400-\U0001f53d"
    "\U0001f546-\U0001f64f\U0001f680-\U0001f6ff\U0001f774-\U0001f77f\U0001f7d5-\U0001f7ff\U0001f80c-\U0001f80f"
    "\U0001f848-\U0001f84f\U0001f85a-\U0001f85f\U0001f888-\U0001f88f\U0001f8ae-\U0001f8ff\U0001f90c-\U0001f93a"
    "\U0001f93c-\U0001f945\U0001f947-\U0001fffd"
)
_LETTER = r"\p{WB=ALetter}\p{WB=Hebrew_Letter}\p{WB=Numeric}\p{WB=Katakana}\p{Script=Han}\p{Script=Hiragana}\p{LB=SA}"
_WORD = regex.compile(f"[{_LETTER}{_EMOJI}]")
_POSSESSIVES = ("'s", "’s", "＇s", "'S", "’S", "＇S")
_LONGEST = 255  # characters; longer words are cut into pieces


def terms(text: str) -> list[str]:
    """The terms of a text in order, with repetitions.

    >>> terms("Women's dresses, for the 1.5m shelf")
    ['women', 'dress', '1.5m', 'shelf']
    """
    return [term for word in _words(text) for term in _pieces(word)]


def _words(text: str) -> Iterator[str]:
    # White space is always a boundary, so one non-ASCII letter makes only its own chunk slow.
    for chunk in [text] if text.isascii() else text.split():
        if chunk.isascii():
            yield from _ASCII_WORD.findall(chunk)
        else:
            # `regex` keeps a quote with the vowel after it, as French needs; Lucene does not.
            yield from (segment.strip("'’") for segment in _SEGMENT.findall(chunk) if _WORD.search(segment))


@lru_cache(maxsize=2**17)
def _pieces(word: str) -> tuple[str, ...]:
    """The terms of one word: one; none for a stop word; several for a very long word."""
    cut = (word[start : start + _LONGEST] for start in range(0, len(word), _LONGEST))
    return tuple(filter(None, map(_term, cut)))


def _term(word: str) -> str:
    word = word.removesuffix(word[-2:] if word.endswith(_POSSESSIVES) else "").lower()
    return "" if word in _STOP_WORDS or not _WORD.search(word) else stem(word)
