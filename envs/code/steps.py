"""The steps that generated functions are made of: what the text says, and the expression that does it."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Values = list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step on a list of integers, called x."""

    words: str
    """What it does, such as "keep the even numbers"."""

    expression: str
    """The same in Python, such as "[n for n in x if n % 2 == 0]"."""

    @property
    def apply(self) -> Callable[[Values], Any]:
        """The step as a function of x."""
        return _function(self.expression)


_LIST_STEPS: Sequence[tuple[str, str]] = (
    ("keep the even numbers", "[n for n in x if n % 2 == 0]"),
    ("keep the odd numbers", "[n for n in x if n % 2 == 1]"),
    ("keep the numbers above {k}", "[n for n in x if n > {k}]"),
    ("keep the numbers below {k}", "[n for n in x if n < {k}]"),
    ("keep the numbers that {k} divides", "[n for n in x if n % {k} == 0]"),
    ("add {k} to each number", "[n + {k} for n in x]"),
    ("subtract {k} from each number", "[n - {k} for n in x]"),
    ("multiply each number by {k}", "[n * {k} for n in x]"),
    ("replace each number by its remainder by {k}", "[n % {k} for n in x]"),
    ("square each number", "[n * n for n in x]"),
    ("take the absolute value of each number", "[abs(n) for n in x]"),
    ("reverse the list", "x[::-1]"),
    ("sort the numbers in rising order", "sorted(x)"),
    ("sort the numbers in falling order", "sorted(x, reverse=True)"),
    ("drop repeated numbers and keep the first of each", "list(dict.fromkeys(x))"),
    ("take the first {k} numbers", "x[:{k}]"),
    ("drop the first {k} numbers", "x[{k}:]"),
    ("put the list behind itself", "x + x"),
    ("replace each number by the sum of all numbers up to it", "[sum(x[:i + 1]) for i in range(len(x))]"),
)
_LAST_STEPS: Sequence[tuple[str, str]] = (
    ("give their sum", "sum(x)"),
    ("give how many they are", "len(x)"),
    ("give the largest, or 0 where there is none", "max(x, default=0)"),
    ("give the smallest, or 0 where there is none", "min(x, default=0)"),
)
_LEAST, _MOST = 2, 9  # of a number k in a step


@cache
def _function(expression: str) -> Callable[[Values], Any]:
    return eval(f"lambda x: {expression}")


def draw_steps(rng: random.Random, depth: int) -> tuple[Step, ...]:
    """`depth` >= 1 random steps. The last gives a number in half of all cases, the others give lists."""
    *first, last = [_LIST_STEPS] * (depth - 1) + [rng.choice((_LIST_STEPS, _LAST_STEPS))]
    return tuple(_with_number(rng, *rng.choice(table)) for table in (*first, last))


def result(steps: Sequence[Step], values: Values) -> Any:
    """What the steps give in their order."""
    for step in steps:
        values = step.apply(values)
    return values


def words_of(steps: Sequence[Step]) -> str:
    """What the steps do, in a line."""
    return "; ".join(step.words for step in steps)


def written(steps: Sequence[Step]) -> str:
    """The function f in Python."""
    *before, last = [step.expression for step in steps]
    return "\n    ".join(["def f(x):", *(f"x = {expression}" for expression in before), f"return {last}"])


def _with_number(rng: random.Random, words: str, expression: str) -> Step:
    number = rng.randint(_LEAST, _MOST)
    return Step(words=words.format(k=number), expression=expression.format(k=number))
