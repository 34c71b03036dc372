"""Products and their attributes, read from the official files (WebShop 2207.01206, `items_*.json`)."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from envs.base import EnvError
from envs.webshop.found import OFFICIAL, Found, read_object

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
    described = read_object(attributes)
    asked = None if human is None else read_object(human)
    seen: set[str] = set()
    for number, value in enumerate(_objects(products)):
        raw = Found(path=products, place=f"product {number}", value=value)
        if str(raw.at("asin").value) == "nan":  # a text, or the number that stands for a missing one
            continue
        asin = raw.at("asin").text()
        if len(asin) > _LONGEST_ASIN or asin in seen:
            continue
        seen.add(asin)
        asks = () if asked is None else tuple(_asks(asked.at(asin, [])))
        yield _product(raw, described.at(asin, {}), asks)


def _objects(path: Path) -> Iterator[Any]:
    """The values of a JSON array, read a piece at a time."""
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
    except UnicodeDecodeError as broken:
        raise EnvError(f"{path}: not UTF-8 text ({broken}); {OFFICIAL}") from broken


def _product(raw: Found, described: Found, asks: tuple[Ask, ...]) -> Product:
    bullets = raw.at("small_description")
    return Product(
        asin=raw.at("asin").text(),
        title=raw.at("name").text(),
        description=raw.at("full_description").text(),
        bullets=(bullets.value,) if isinstance(bullets.value, str) else bullets.texts(),
        category=raw.at("category").text(),
        query=raw.at("query").text().lower().strip(),
        product_category=raw.at("product_category").text(),
        prices=_prices(raw.at("pricing", None)),
        options=_options(raw.at("customization_options")),
        attributes=described.at("attributes", ["DUMMY_ATTR"]).texts(),
        synthetic=None if described.at("instruction", None).value is None else _ask(described),
        human=asks,
    )


def _asks(asked: Found) -> Iterator[Ask]:
    for one in asked.items():
        if one.at("instruction_attributes").value:
            yield _ask(one, one.at("instruction_options").texts())


def _ask(one: Found, options: tuple[str, ...] = ()) -> Ask:
    attributes = one.at("instruction_attributes")
    if not attributes.texts():
        raise attributes.refusal("the one text or more that an instruction asks for")
    return Ask(text=one.at("instruction").text(), attributes=attributes.texts(), options=options)


def _prices(pricing: Found) -> tuple[float, ...]:
    if not pricing.value:
        return (_NO_PRICE,)
    try:
        prices = [float(Decimal(re.sub(r"[^0-9.]", "", part))) for part in pricing.text().split("$")[1:]]
    except InvalidOperation as broken:
        raise pricing.refusal("a price like $12.99") from broken
    if not prices:
        raise pricing.refusal("a price like $12.99")
    return tuple(prices[:2])


def _options(groups: Found) -> dict[str, list[str]]:
    if not groups.value:
        return {}
    return {
        name.lower(): [
            choice.at("value").text().strip().replace("/", " | ").lower() for choice in groups.at(name).items()
        ]
        for name, contents in groups.members().items()
        if contents is not None
    }
