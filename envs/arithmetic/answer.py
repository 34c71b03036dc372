"""What counts as an answer. The prompts and the world share this definition.

An answer is one line of at most 200 characters. It has a digit or a letter, and no word: no three letters in a row,
except in LaTeX commands and in the braces of `text` and the like. Generated tasks need a number: an optional minus,
digits with or without commas between thousands, an optional decimal fraction.
"""

import re
from fractions import Fraction

LONGEST = 200  # characters
_COMMAND = r"\\(?:text\w*|mathrm|mbox|begin|end)\{[^{}]*\}|\\[A-Za-z]+"
_WORD = r"[^\W\d_]{3}"  # letters of any script
_ANSWER = re.compile(rf"(?=.*\w)(?:{_COMMAND}|(?!{_WORD}).)++")  # ++ (possessive): no backtracking
_NUMBER = re.compile(r"-?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?")


def is_answer(line: str) -> bool:
    r"""Whether a line has the form of an answer; outer white space is ignored.

    >>> [is_answer(line) for line in ("42", "-1,200", r"\\frac{3}{4}", "x + 1", "42 apples", "")]
    [True, True, True, True, False, False]
    """
    line = line.strip()
    return len(line) <= LONGEST and _ANSWER.fullmatch(line) is not None


def number(line: str) -> Fraction | None:
    """The exact value of a line that is a number; None for any other line.

    >>> number("1,200.50"), number("84/2")
    (Fraction(2401, 2), None)
    """
    line = line.strip()
    return Fraction(line.replace(",", "")) if len(line) <= LONGEST and _NUMBER.fullmatch(line) else None
