"""Integer expressions: trees of the four operations, with their values, their notation and a random generator."""

import random
from dataclasses import dataclass
from typing import TypeAlias

Expression: TypeAlias = "int | Operation"

_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2}


@dataclass(frozen=True, slots=True)
class Operation:
    """`left sign right`, where sign is one of + - * /. Only `operation` makes one, so every division is exact."""

    sign: str
    left: Expression
    right: Expression
    value: int


def value(expression: Expression) -> int:
    """The value of an expression."""
    return expression if isinstance(expression, int) else expression.value


def operation(sign: str, left: Expression, right: Expression) -> Operation:
    """The operation with its value. Raises ValueError for a division with a remainder or by 0."""
    a, b = value(left), value(right)
    match sign:
        case "+":
            return Operation(sign, left, right, a + b)
        case "-":
            return Operation(sign, left, right, a - b)
        case "*":
            return Operation(sign, left, right, a * b)
        case "/" if b and a % b == 0:
            return Operation(sign, left, right, a // b)
        case _:
            raise ValueError(f"{a} {sign} {b} is no integer operation")


def written(expression: Expression) -> str:
    """The usual notation, with only the brackets that the order of operations needs.

    >>> written(operation("*", operation("-", 9, 4), operation("/", 6, 3)))
    '(9 - 4) * (6 / 3)'
    """
    if isinstance(expression, int):
        return str(expression)
    binds = _BINDS[expression.sign]
    left, right = (_inside(part, binds + after) for after, part in enumerate((expression.left, expression.right)))
    return f"{left} {expression.sign} {right}"


def draw(rng: random.Random, depth: int, largest: int) -> Operation:
    """A random expression: `depth` >= 1 operations on numbers from 1 to `largest`, every value within ±largest²."""
    before = rng.randrange(depth)
    left, right = (draw(rng, n, largest) if n else rng.randint(1, largest) for n in (before, depth - 1 - before))
    divisors = [n for n in range(2, largest + 1) if value(left) and value(left) % n == 0]
    for sign in rng.sample("+-*/", 4):
        if sign == "/" and isinstance(right, int) and divisors:  # two independent numbers seldom divide
            return operation(sign, left, rng.choice(divisors))
        if _fits(sign, value(left), value(right), largest**2):
            return operation(sign, left, right)
    raise AssertionError("of two values within the bound, the sum or the difference is within it too")


def _inside(part: Expression, binds: int) -> str:
    text = written(part)
    return text if isinstance(part, int) or _BINDS[part.sign] >= binds else f"({text})"


def _fits(sign: str, a: int, b: int, bound: int) -> bool:
    return b != 0 and a % b == 0 if sign == "/" else abs(operation(sign, a, b).value) <= bound
