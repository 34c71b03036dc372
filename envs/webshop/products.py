"""Products and their attributes, read from the official files (WebShop 2207.01206, `items_*.json`)."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast

from envs.base import EnvError

_CHUNK = 2**24
_BETWEEN = re.compile(r"[\s,]*")
_NO_PRICE = 100.0
_LONGEST_ASIN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One instruction for a product: its text, the attributes it names and, from people, the options it names."""

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What the shop shows of a product, and what the reward compares.

    prices: one, or the two ends of a range, dollars. options: name -> values, lower case, in page order.
    synthetic, human: the instructions that goals are made of. nouns: those of the title, lower case, with repetitions.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    category: str
    query: str
    product_category: str
    prices: tuple[float, ...]
    options: Mapping[str, Sequence[str]]
    attributes: tuple[str, ...]
    synthetic: Ask | None
    human: tuple[Ask, ...]
    nouns: tuple[str, ...] = ()

    @property
    def price_text(self) -> str:
        """ "$12.99", or "$12.99 to $19.99"."""
        return " to ".join(f"${price}" for price in self.prices)

    @property
    def indexed_text(self) -> str:
        """What a search looks at: title, description, first bullet, options; lower case."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        return " ".join([self.title, self.description, "".join(self.bullets[:1]), options]).lower()


def read_products(products: Path, attributes: Path, human: Path | None) -> Iterator[Product]:
    """The products in the order of their file, one by one: 1.18 million do not fit into memory at once.

    Left out: an asin that is "nan", longer than 10 characters, or seen before.
    Raises EnvError, one line with path and remedy, for a file that is missing or broken.
    """
    described = cast("dict[str, Any]", _read(attributes))
    asked = cast("dict[str, Any]", _read(human)) if human is not None else {}
    seen: set[str] = set()
    for number, raw in enumerate(_objects(products)):
        try:
            asin = str(raw["asin"])
            if asin == "nan" or len(asin) > _LONGEST_ASIN or asin in seen:
                continue
            seen.add(asin)
            yield _product(raw, described.get(asin, {}), asked.get(asin, ()))
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as broken:
            raise EnvError(
                f"{products}: product {number} is not in WebShop's format ({type(broken).__name__}: {broken}); "
                "give the official file or repair it"
            ) from broken


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except OSError as missing:
        raise EnvError(f"{path}: cannot be read ({missing.strerror}); give WebShop's official file") from missing
    except ValueError as broken:
        raise EnvError(f"{path}: not a JSON file ({broken}); download it again") from broken


def _objects(path: Path) -> Iterator[Mapping[str, Any]]:
    """The objects of a JSON array, read a piece at a time."""
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8") as file:
            text, at = file.read(_CHUNK), 1
            if not text.startswith("["):
                raise EnvError(f"{path}: not a JSON array of products; give WebShop's items_shuffle file")
            while True:
                at = _BETWEEN.match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess]  # it fits anything
                if text[at : at + 1] == "]":
                    return
                try:
                    item, at = decoder.raw_decode(text, at)
                except ValueError as broken:
                    more = file.read(_CHUNK)
                    if not more:
                        raise EnvError(f"{path}: not a whole JSON array ({broken}); download it again") from broken
                    text, at = text[at:] + more, 0
                else:
                    yield item
    except OSError as missing:
        raise EnvError(f"{path}: cannot be read ({missing.strerror}); give WebShop's official file") from missing


def _product(raw: Mapping[str, Any], described: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> Product:
    bullets: list[str] | str = raw["small_description"]
    text = described.get("instruction")
    return Product(
        asin=raw["asin"],
        title=raw["name"],
        description=raw["full_description"],
        bullets=(bullets,) if isinstance(bullets, str) else tuple(bullets),
        category=raw["category"],
        query=raw["query"].lower().strip(),
        product_category=raw["product_category"],
        prices=_prices(raw.get("pricing")),
        options=_options(raw["customization_options"] or {}),
        attributes=tuple(described.get("attributes", ("DUMMY_ATTR",))),
        synthetic=None if text is None else _ask(text, described["instruction_attributes"], ()),
        human=tuple(
            _ask(one["instruction"], one["instruction_attributes"], one["instruction_options"])
            for one in asked
            if one["instruction_attributes"]
        ),
    )


def _ask(text: str, attributes: Sequence[str], options: Sequence[str]) -> Ask:
    if not attributes:
        raise ValueError(f"the instruction {text!r} names no attribute")
    return Ask(text=text, attributes=tuple(attributes), options=tuple(options))


def _prices(pricing: str | None) -> tuple[float, ...]:
    if not pricing:
        return (_NO_PRICE,)
    try:
        prices = [float(Decimal(re.sub(r"[^0-9.]", "", part))) for part in pricing.split("$")[1:]]
    except InvalidOperation as broken:
        raise ValueError(f"the price {pricing!r} is not a number") from broken
    if not prices:
        raise ValueError(f"the price {pricing!r} has no dollar sign")
    return tuple(prices[:2])


def _options(groups: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        name.lower(): [content["value"].strip().replace("/", " | ").lower() for content in contents]
        for name, contents in groups.items()
        if contents is not None
    }
