"""Word problems: each tells an expression as a story. No count in it falls below one."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from envs.arithmetic.expression import Expression, operation, value

LONGEST = 8  # operations; the shop sells four goods, the people of a comparison are nine
_MOST_TIMES = 5
_MOST_SHARES = 12
_MOST_BOUGHT = 10
_NAMES = ("Ada", "Bruno", "Chiara", "Dmitri", "Elif", "Femi", "Greta", "Hiro", "Ines", "Jonas", "Kamala", "Liam")
_THINGS = ("apples", "beads", "buttons", "cards", "coins", "marbles", "pencils", "shells", "stamps", "stickers")
_GOODS = ("candles", "combs", "cups", "hats", "lamps", "maps", "notebooks", "ropes", "spoons", "towels")
_LUGGAGE = ("bags", "boxes", "tickets", "umbrellas")
_HAPPENS: dict[str, tuple[str, ...]] = {
    "+": ("{name} buys {n} more.", "{other} gives {name} {n} more.", "{name} finds {n} more in a drawer."),
    "-": ("{name} gives {n} of them to {other}.", "{name} sells {n} of them.", "{name} loses {n} of them."),
    "*": ("A month later {name} has {n} times as many.", "{name} trades them for {n} times as many."),
    "/": (
        "{name} makes {n} equal heaps of them, keeps one heap and gives {other} the rest.",
        "{name} shares them out evenly among {n} people, {name} being one of them.",
    ),
}
_COMPARED = {
    "+": "{name} has {n} more {things} than {other}.",
    "-": "{name} has {n} fewer {things} than {other}.",
    "*": "{name} has {n} times as many {things} as {other}.",
    "/": "{other} has {n} times as many {things} as {name}.",
}
_STOPS = {"+": "{n} people get on", "-": "{n} people get off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A word problem."""

    text: str
    """The question."""

    computation: Expression
    """The expression whose value is the answer."""


def tell(rng: random.Random, depth: int, largest: int) -> Story:
    """A story of `depth` operations (1 to LONGEST) on numbers from 2 to `largest` (10 or more), or sums of them."""
    return rng.choice(_TEMPLATES)(rng, depth, largest)


def _belongings(rng: random.Random, depth: int, largest: int) -> Story:
    """One person gains and loses things."""
    name, other = rng.sample(_NAMES, 2)
    things, count = rng.choice(_THINGS), rng.randint(2, largest)
    sentences, now = [f"{name} has {count} {things}."], count
    for _ in range(depth):
        sign, n, now = _change(rng, now, largest, "+-*/")
        sentences.append(rng.choice(_HAPPENS[sign]).format(name=name, other=other, n=n))
    return Story(text=f"{' '.join(sentences)} How many {things} does {name} have now?", computation=now)


def _comparison(rng: random.Random, depth: int, largest: int) -> Story:
    """Several people; each is compared with the previous one."""
    names = rng.sample(_NAMES, depth + 1)
    things, count = rng.choice(_THINGS), rng.randint(2, largest)
    sentences, now = [f"{names[0]} has {count} {things}."], count
    for other, name in pairwise(names):
        sign, n, now = _change(rng, now, largest, "+-*/")
        sentences.append(_COMPARED[sign].format(name=name, other=other, n=n, things=things))
    return Story(text=f"{' '.join(sentences)} How many {things} does {names[-1]} have?", computation=now)


def _bus(rng: random.Random, depth: int, largest: int) -> Story:
    """People get on and off a bus. In half of the stories everybody on it carries something at the end."""
    loaded = rng.random() < 0.5
    count = rng.randint(2, largest)
    sentences, now = [f"A bus sets off with {count} people."], count
    for stop in range(depth - loaded):
        sign, n, now = _change(rng, now, largest, "+-")
        sentences.append(f"At {'the next' if stop else 'the first'} stop {_STOPS[sign].format(n=n)}.")
    if not loaded:
        return Story(text=f"{' '.join(sentences)} How many people are on the bus now?", computation=now)
    things, n = rng.choice(_LUGGAGE), rng.randint(2, _MOST_TIMES)
    sentences.append(f"Everybody on the bus carries {n} {things}. How many {things} is that in all?")
    return Story(text=" ".join(sentences), computation=operation("*", now, n))


def _shop(rng: random.Random, depth: int, largest: int) -> Story:
    """A customer buys several goods, several of each. An even depth asks for the money that is left."""
    name, goods = rng.choice(_NAMES), rng.sample(_GOODS, (depth + 1) // 2)
    prices = [rng.randint(2, largest) for _ in goods]
    counts = [rng.randint(2, _MOST_BOUGHT) for _ in goods]
    sums = [operation("*", n, price) for n, price in zip(counts, prices, strict=True)]
    paid: Expression = sums[0]
    for part in sums[1:]:
        paid = operation("+", paid, part)
    offers = _listed([f"{things} for {price} coins each" for things, price in zip(goods, prices, strict=True)])
    bought = _listed([f"{n} {things}" for n, things in zip(counts, goods, strict=True)])
    text = f"A shop sells {offers}. {name} buys {bought}"
    if depth % 2:
        return Story(text=f"{text}. How many coins does {name} pay?", computation=paid)
    purse = value(paid) + rng.randint(2, largest)
    return Story(
        text=f"{text}, and had {purse} coins before. How many coins does {name} have left?",
        computation=operation("-", purse, paid),
    )


_TEMPLATES: tuple[Callable[[random.Random, int, int], Story], ...] = (_belongings, _comparison, _bus, _shop)


def _change(rng: random.Random, now: Expression, largest: int, signs: str) -> tuple[str, int, Expression]:
    """One operation whose result is between 1 and largest²: its sign, its number and the new expression."""
    count, bound = value(now), largest**2
    numbers = {
        "+": range(2, min(largest, bound - count) + 1),
        "-": range(2, min(largest, count - 1) + 1),
        "*": range(2, min(_MOST_TIMES, bound // count) + 1),
        "/": [n for n in range(2, min(_MOST_SHARES, largest) + 1) if count % n == 0],
    }
    sign = rng.choice([sign for sign in signs if numbers[sign]])
    n = rng.choice(numbers[sign])
    return sign, n, operation(sign, now, n)


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
