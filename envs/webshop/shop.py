"""One shop: catalogue, search and goals. It is built once per host, and every process maps it."""

import json
import mmap
from array import array
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.base import EnvError
from envs.webshop.files import ShopFiles, built_once, content_key
from envs.webshop.goals import Goal, GoalKind, GoalTable, draw_goals, open_goals, save_goals
from envs.webshop.index import IndexBuilder, map_bytes, open_index
from envs.webshop.nouns import with_nouns
from envs.webshop.products import Ask, Product, read_products

MOST_HITS = 50
_FORMAT = "2"  # of the files below; raise it to have every shop rebuilt
_FIELDS = tuple(field.name for field in fields(Product))
_PARSED = 4096  # products kept as objects, a few kB each


class Shop:
    """What the episodes of a process share: read-only, memory-mapped, loaded on access.

    goals: the goal table. source: the file of products, for error messages. catalogue: digest of products and goals.
    """

    def __init__(self, folder: Path, kind: GoalKind, price_seed: int, source: Path, catalogue: str) -> None:
        self.source = source
        self.catalogue = catalogue
        self._records = map_bytes(folder / "products.bin")
        self._ends: NDArray[np.int64] = np.load(folder / "product_ends.npy", mmap_mode="r")
        self._index = open_index(folder)
        goals_folder = built_once(
            folder / f"goals-{kind}-{price_seed}", lambda fresh: self._draw(fresh, kind, price_seed)
        )
        self.goals: GoalTable = open_goals(goals_folder, kind)
        self.product = lru_cache(maxsize=_PARSED)(self._product)
        self.goal = lru_cache(maxsize=_PARSED)(self._goal)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def search(self, query: str) -> tuple[int, ...]:
        """The numbers of at most 50 products, best first."""
        return tuple(self._index.search(query, most=MOST_HITS, name=lambda number: self.product(number).asin))

    def price(self, number: int) -> float:
        """The price of a product in this shop, dollars."""
        return float(self.goals.prices[number])

    def _goal(self, index: int) -> Goal:
        return self.goals.goal(index, self.product(self.goals.product_of(index)))

    def _product(self, number: int) -> Product:
        return _unpacked(self._records, self._ends, number)

    def _draw(self, fresh: Path, kind: GoalKind, price_seed: int) -> None:
        every = (self._product(number) for number in range(len(self)))
        save_goals(fresh, draw_goals(every, kind, price_seed))


@cache
def open_shop(files: ShopFiles, folder: Path, kind: GoalKind, price_seed: int) -> Shop:
    """The shop of these files, one object per process. It is built first if the cache does not have it.

    Raises EnvError for a missing or broken file, and for a catalogue without products or goals.
    """
    built = built_once(folder / content_key(files.paths, folder, _FORMAT), lambda fresh: _build(fresh, files))
    read = (files.products, files.attributes, files.human if kind == "human" else None)
    shop = Shop(built, kind, price_seed, files.products, content_key(read, folder, kind))
    if len(shop.goals) == 0:
        raise EnvError(f"{files.products}: no product has a {kind} instruction; choose other goals or other files")
    return shop


def _build(fresh: Path, files: ShopFiles) -> None:
    builder = IndexBuilder()
    ends = array("q", [0])
    with (fresh / "products.bin").open("wb") as records:
        for product in with_nouns(read_products(files.products, files.attributes, files.human), files.nouns):
            builder.add(product.indexed_text)
            ends.append(ends[-1] + records.write(_packed(product)))
    if len(ends) == 1:
        raise EnvError(f"{files.products}: holds no product; give webshop the official file")
    np.save(fresh / "product_ends.npy", np.frombuffer(ends, np.int64))
    builder.write(fresh)


def _packed(product: Product) -> bytes:
    values = asdict(product)
    return json.dumps([values[name] for name in _FIELDS], ensure_ascii=False, separators=(",", ":")).encode(
        errors="surrogatepass"
    )


def _unpacked(records: mmap.mmap, ends: Sequence[int] | NDArray[np.int64], number: int) -> Product:
    values: dict[str, Any] = dict(
        zip(_FIELDS, json.loads(records[ends[number] : ends[number + 1]]), strict=True),
    )
    for name in ("bullets", "prices", "attributes", "nouns"):
        values[name] = tuple(values[name])
    values["synthetic"] = None if values["synthetic"] is None else _ask(values["synthetic"])
    values["human"] = tuple(map(_ask, values["human"]))
    return Product(**values)


def _ask(values: dict[str, Any]) -> Ask:
    return Ask(text=values["text"], attributes=tuple(values["attributes"]), options=tuple(values["options"]))
