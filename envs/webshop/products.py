"""Products and their attributes, read from the official files (WebShop 2207.01206, `items_*.json`)."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from envs.base import EnvError
from envs.webshop.json_value import OFFICIAL, JsonValue, read_object

_CHUNK = 2**24
_BETWEEN = re.compile(r"[\s,]*")
_NO_PRICE = 100.0
_LONGEST_ASIN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One instruction to buy a product."""

    text: str
    """The instruction. A goal adds the price cap and, if synthetic, the options."""

    attributes: tuple[str, ...]
    """The attributes it names, one or more."""

    options: tuple[str, ...] = ()
    """The option values it names; only in instructions that people wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What the shop shows of a product, and what the reward compares."""

    asin: str
    """The product's id, at most 10 characters."""

    title: str
    """The name on the page."""

    description: str
    """The text of the page "Description"."""

    bullets: tuple[str, ...]
    """The lines of the page "Features"."""

    category: str
    """The department, such as "fashion"."""

    query: str
    """The search query of the official file, lower case; the reward compares it."""

    product_category: str
    """The path of categories, separated by "›"."""

    prices: tuple[float, ...]
    """Dollars: one price, or the two ends of a range."""

    options: Mapping[str, Sequence[str]]
    """Option name -> values, lower case, in page order."""

    attributes: tuple[str, ...]
    """The attributes that the reward compares."""

    synthetic: Ask | None
    """The instruction of its synthetic goals; None if it has none."""

    human: tuple[Ask, ...]
    """The instructions that people wrote."""

    nouns: tuple[str, ...] = ()
    """The nouns of the title, lower case, with repetitions."""

    @property
    def price_text(self) -> str:
        """ "$12.99", or "$12.99 to $19.99"."""
        return " to ".join(f"${price}" for price in self.prices)

    @property
    def indexed_text(self) -> str:
        """The text that a search looks at: title, description, first bullet and options, in lower case."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        return " ".join([self.title, self.description, "".join(self.bullets[:1]), options]).lower()


def read_products(products: Path, attributes: Path, human: Path | None) -> Iterator[Product]:
    """The products one by one, in the order of the file: 1.18 million do not fit into memory at once.

    A product is omitted if its asin is "nan", is longer than 10 characters, or occurred before.
    Raises EnvError for a missing or broken file.
    """
    details = read_object(attributes)
    instructions = None if human is None else read_object(human)
    asins: set[str] = set()
    for number, value in enumerate(_objects(products)):
        raw = JsonValue(path=products, place=f"product {number}", value=value)
        if str(raw.at("asin").value) == "nan":  # the text "nan", or the number NaN
            continue
        asin = raw.at("asin").text()
        if len(asin) > _LONGEST_ASIN or asin in asins:
            continue
        asins.add(asin)
        asks = () if instructions is None else tuple(_asks(instructions.at(asin, [])))
        yield _product(raw, details.at(asin, {}), asks)


def _objects(path: Path) -> Iterator[Any]:
    """The items of a JSON array, read in pieces of the file."""
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


def _product(raw: JsonValue, details: JsonValue, asks: tuple[Ask, ...]) -> Product:
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
        attributes=details.at("attributes", ["DUMMY_ATTR"]).texts(),
        synthetic=None if details.at("instruction", None).value is None else _ask(details),
        human=asks,
    )


def _asks(instructions: JsonValue) -> Iterator[Ask]:
    for instruction in instructions.items():
        if instruction.at("instruction_attributes").value:
            yield _ask(instruction, instruction.at("instruction_options").texts())


def _ask(instruction: JsonValue, options: tuple[str, ...] = ()) -> Ask:
    attributes = instruction.at("instruction_attributes")
    if not attributes.texts():
        raise attributes.refusal("the one text or more that an instruction asks for")
    return Ask(text=instruction.at("instruction").text(), attributes=attributes.texts(), options=options)


def _prices(pricing: JsonValue) -> tuple[float, ...]:
    if not pricing.value:
        return (_NO_PRICE,)
    try:
        prices = [float(Decimal(re.sub(r"[^0-9.]", "", part))) for part in pricing.text().split("$")[1:]]
    except InvalidOperation as broken:
        raise pricing.refusal("a price like $12.99") from broken
    if not prices:
        raise pricing.refusal("a price like $12.99")
    return tuple(prices[:2])


def _options(groups: JsonValue) -> dict[str, list[str]]:
    if not groups.value:
        return {}
    return {
        name.lower(): [
            choice.at("value").text().strip().replace("/", " | ").lower() for choice in groups.at(name).items()
        ]
        for name, contents in groups.members().items()
        if contents is not None
    }
