"""Goals: what a customer wants to buy, made from the products as the original makes them."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from envs.webshop.products import Ask, Product

GoalKind = Literal["synthetic", "human"]
NO_CAP = 1_000_000.0
SHUFFLE_SEED = 233
_CAPS = [10.0 * tens for tens in range(1, 100)]
_CAPS_CONSIDERED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One goal: the instruction, and what the reward compares with the purchase."""

    product: int
    """The number of the product it was made from."""

    asin: str
    """That product's id."""

    category: str
    """That product's department."""

    query: str
    """That product's query."""

    product_category: str
    """That product's path of categories."""

    text: str
    """The instruction that the agent reads."""

    attributes: tuple[str, ...]
    """The attributes to buy."""

    cap: float
    """The highest price allowed, dollars; `NO_CAP` if any price is."""

    options: tuple[tuple[str, str], ...] | tuple[str, ...]
    """The options to choose: (name, value) pairs of a synthetic goal, plain values of a goal by people."""

    nouns: tuple[str, ...]
    """The nouns of the product's title."""

    weight: float
    """The weight for sampling goals by weight, as in the original."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalTable:
    """All goals of a shop, as memory-mapped arrays: 1.18 million products have eight million goals."""

    kind: GoalKind
    """Whose instructions these are: "synthetic" or "human"."""

    products: NDArray[np.int32]
    """int32 [asks]. The product of each instruction."""

    caps: NDArray[np.float64]
    """float64 [asks]. The price cap of each instruction, dollars."""

    starts: NDArray[np.int64]
    """int64 [asks + 1]. The number of goals before each instruction."""

    order: NDArray[np.int64]
    """int64 [goals]. Goal index -> number before the shuffle."""

    prices: NDArray[np.float64]
    """float64 [products]. The price of each product in this shop, dollars."""

    counts: Mapping[str, int]
    """Attribute -> number of goals that name it."""

    def __len__(self) -> int:
        return len(self.order)

    def product_of(self, index: int) -> int:
        """The number of the product of goal `index`."""
        return int(self.products[self._place(int(self.order[index]))])

    def products_of_all(self) -> NDArray[np.int32]:
        """int32 [goals]. The product of each goal."""
        return self.products[np.searchsorted(self.starts, self.order, side="right") - 1]

    def goal(self, index: int, product: Product) -> Goal:
        """Goal `index`. `product` must be the one that `product_of` names."""
        number = int(self.order[index])
        place = self._place(number)
        cap = float(self.caps[place])
        offset = number - int(self.starts[place])
        if self.kind == "human":
            # The instructions of one product are adjacent.
            first = int(np.flatnonzero(self.products == self.products[place])[0])
            ask = product.human[place - first]
            return _goal(int(self.products[place]), product, ask, ask.text.strip("."), ask.options, cap, 1.0)
        ask = product.synthetic
        assert ask is not None  # the table names only products with an instruction
        options = _combination(product.options, offset)
        choices = ", and ".join(f"{name}: {value}" for name, value in options)
        text = f"{ask.text} with {choices}" if choices else ask.text
        weight = sum(1 / self.counts[attribute] for attribute in ask.attributes) / len(ask.attributes)
        return _goal(int(self.products[place]), product, ask, text, options, cap, weight)

    def _place(self, number: int) -> int:
        return int(np.searchsorted(self.starts, number, side="right")) - 1


def _goal(
    number: int,
    product: Product,
    ask: Ask,
    text: str,
    options: tuple[tuple[str, str], ...] | tuple[str, ...],
    cap: float,
    weight: float,
) -> Goal:
    return Goal(
        product=number,
        asin=product.asin,
        category=product.category,
        query=product.query,
        product_category=product.product_category,
        text=text if cap == NO_CAP else f"{text}, and price lower than {cap:.2f} dollars",
        attributes=ask.attributes,
        cap=cap,
        options=options,
        nouns=product.nouns,
        weight=weight,
    )


def _combination(options: Mapping[str, Sequence[str]], number: int) -> tuple[tuple[str, str], ...]:
    """Combination `number` of one value per option. Options are sorted by name; the last name changes fastest."""
    chosen: list[tuple[str, str]] = []
    for name in sorted(options, reverse=True):
        number, digit = divmod(number, len(options[name]))
        chosen.append((name, options[name][digit]))
    return tuple(reversed(chosen))


def draw_goals(products: Iterable[Product], kind: GoalKind, seed: int) -> GoalTable:
    """All goals of a catalogue, in the order of the original's shuffle (seed 233).

    seed: of the prices and the caps. As in the original, they are drawn before the shuffle, all prices first, in
    product order.
    """
    rng = random.Random(seed)
    prices: list[float] = []
    asks: list[tuple[int, Ask, int]] = []  # product, instruction, number of goals
    for number, product in enumerate(products):
        ends = product.prices
        prices.append(ends[0] if len(ends) == 1 else rng.uniform(*ends))
        if kind == "human":
            asks += [(number, ask, 1) for ask in product.human]
        elif product.synthetic is not None:
            asks.append((number, product.synthetic, math.prod(map(len, product.options.values()))))
    caps = [_cap(rng, prices[number]) for number, _, _ in asks]
    starts = [0, *accumulate(goals for _, _, goals in asks)]
    order = list(range(starts[-1]))
    random.Random(SHUFFLE_SEED).shuffle(order)
    counts: Counter[str] = Counter()
    for _, ask, goals in asks:
        for attribute in ask.attributes:
            counts[attribute] += goals
    return GoalTable(
        kind=kind,
        products=np.array([number for number, _, _ in asks], dtype=np.int32),
        caps=np.array(caps, dtype=np.float64),
        starts=np.array(starts, dtype=np.int64),
        order=np.array(order, dtype=np.int64),
        prices=np.array(prices, dtype=np.float64),
        counts=counts,
    )


def _cap(rng: random.Random, price: float) -> float:
    """The larger of two caps drawn from the next four multiples of 10 above the price; `NO_CAP` if only one is left."""
    above = [cap for cap in _CAPS if cap > price][:_CAPS_CONSIDERED]
    return max(rng.sample(above, 2)) if len(above) >= 2 else NO_CAP


_ARRAYS = ("products", "caps", "starts", "order", "prices")


def save_goals(folder: Path, table: GoalTable) -> None:
    """Write a table for `open_goals`."""
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(table, name))
    np.save(folder / "counts.npy", np.array([[name, str(count)] for name, count in table.counts.items()], dtype=str))


def open_goals(folder: Path, kind: GoalKind) -> GoalTable:
    """Map what `save_goals` wrote."""
    counts = {str(name): int(count) for name, count in np.load(folder / "counts.npy").reshape(-1, 2)}
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    return GoalTable(kind=kind, counts=counts, **arrays)
