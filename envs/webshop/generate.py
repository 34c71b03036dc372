"""A shop made by seed, in the official files' format: works with no download, and small models can learn it."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from envs.base import EnvError
from envs.webshop.files import ShopFiles, built_once

FEWEST, MOST = 20, 100_000  # products; their asins have five digits
_VERSION = 1  # a change of what follows makes other shops of the same seeds
_ASKED_SHARE, _HUMAN_SHARE, _RANGE_SHARE = 0.6, 0.2, 0.25
_NAMES = "Alder Brixo Corvane Delmar Esker Fennick Galway Hollin Isolde Juniper Kestrel Marlow Norden Ostra"
_BRANDS = tuple(_NAMES.split())
_COLOURS = ("black", "white", "red", "blue", "green", "yellow", "purple")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aisle:
    """One category: its name on the site, its products (query -> word of the title), their attributes and options."""

    category: str
    path: str
    products: dict[str, str]
    attributes: tuple[str, ...]
    options: dict[str, tuple[str, ...]]


_AISLES = (
    _Aisle(
        category="garden",
        path="Home & Kitchen › Dining › ",
        products={"coffee mugs": "mug", "tea kettles": "kettle", "fruit bowls": "bowl", "serving trays": "tray"},
        attributes=("dishwasher safe", "hand painted", "heat resistant", "lead free", "easy clean"),
        options={"color": _COLOURS, "size": ("small", "medium", "large")},
    ),
    _Aisle(
        category="fashion",
        path="Clothing, Shoes & Jewelry › Outerwear › ",
        products={"rain jackets": "jacket", "winter scarves": "scarf", "hiking boots": "boots", "wool hats": "hat"},
        attributes=("machine wash", "quick drying", "slim fit", "water resistant", "soft lining"),
        options={"color": _COLOURS, "size": ("small", "medium", "large", "x-large")},
    ),
    _Aisle(
        category="electronics",
        path="Electronics › Accessories › ",
        products={"desk speakers": "speaker", "phone chargers": "charger", "quiet keyboards": "keyboard"},
        attributes=("fast charging", "noise reducing", "long lasting", "plug play", "high power"),
        options={"color": _COLOURS, "cable": ("short", "long")},
    ),
    _Aisle(
        category="beauty",
        path="Beauty & Personal Care › Bath › ",
        products={"hand soaps": "soap", "hair brushes": "brush", "bath oils": "oil"},
        attributes=("cruelty free", "fragrance free", "dry skin", "plant based", "travel size"),
        options={"pack": ("one", "two", "four"), "color": _COLOURS},
    ),
    _Aisle(
        category="grocery",
        path="Grocery & Gourmet Food › Pantry › ",
        products={"breakfast cereals": "cereal", "fruit snacks": "snack", "herbal teas": "tea"},
        attributes=("gluten free", "low sugar", "non gmo", "dairy free", "individually wrapped"),
        options={"flavor": ("apple", "cherry", "honey", "vanilla"), "pack": ("one", "two", "four")},
    ),
)


def generated_files(cache: Path, size: int, seed: int) -> ShopFiles:
    """The files of a shop of `size` products, written first if need be. Raises EnvError as `write_folder`."""
    _check(size)
    name = f"generated-{_VERSION}-{size}-{seed}"
    return shop_files(built_once(cache / name, lambda fresh: write_shop(fresh, size=size, seed=seed)))


def shop_files(folder: Path) -> ShopFiles:
    """Where `write_shop` puts what it writes."""
    return ShopFiles(
        products=folder / "items_shuffle.json",
        attributes=folder / "items_ins_v2.json",
        human=folder / "items_human_ins.json",
        nouns=folder / "title_nouns.json",
    )


def write_folder(folder: Path, *, size: int, seed: int) -> None:
    """A shop in a folder of its own, renamed into place when complete. Raises EnvError for one that holds something."""
    _check(size)
    if folder.exists() and any(folder.iterdir()):
        raise EnvError(f"{folder} is not empty; remove it, or write into another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as fresh:
        whole = Path(fresh) / "whole"
        whole.mkdir()
        write_shop(whole, size=size, seed=seed)
        whole.rename(folder)


def _check(size: int) -> None:
    if not FEWEST <= size <= MOST:
        raise EnvError(f"webshop cannot generate a shop of {size} products; give {FEWEST} to {MOST}")


def write_shop(folder: Path, *, size: int, seed: int) -> None:
    """Write the four files of a shop into a folder: the same seed, the same bytes."""
    rng = random.Random(f"webshop shop {seed}")  # a text: the same in every process
    items: list[dict[str, Any]] = []
    attributes: dict[str, Any] = {}
    human: dict[str, Any] = {}
    nouns: dict[str, list[str]] = {}
    for number in rng.sample(range(MOST), size):
        asin = f"B{number:05d}"
        item, described = _product(rng, asin)
        items.append(item)
        if rng.random() < _ASKED_SHARE:
            asked = rng.sample(described, rng.randint(1, len(described)))
            attributes[asin] = {
                "attributes": described,
                "instruction": f"Find me {', '.join(asked)} {item['query']}",
                "instruction_attributes": asked,
            }
        else:
            attributes[asin] = {"attributes": described}
        if rng.random() < _HUMAN_SHARE:
            human[asin] = [_spoken(rng, item, described)]
        nouns[asin] = [item["name"].split()[0].lower(), *item["name"].split()[-1:]]
    files = shop_files(folder)
    for path, content in zip(files.paths, (items, attributes, human, nouns), strict=True):
        assert path is not None  # all four are written
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _product(rng: random.Random, asin: str) -> tuple[dict[str, Any], list[str]]:
    """One item as in items_shuffle.json, and its attributes."""
    aisle = rng.choice(_AISLES)
    query, word = rng.choice(list(aisle.products.items()))
    described = rng.sample(aisle.attributes, rng.randint(1, 2))
    name = f"{rng.choice(_BRANDS)} {' '.join(described)} {word}"
    values = {option: rng.sample(known, rng.randint(2, 3)) for option, known in aisle.options.items() if len(known) > 2}
    values |= {option: list(known) for option, known in aisle.options.items() if len(known) <= 2}
    item = {
        "name": name,
        "full_description": f"A {word} for every day.",
        "pricing": _pricing(rng),
        "images": [""],
        "product_category": f"{aisle.path}{query.title()}",
        "small_description": [f"It is {attribute}." for attribute in described],
        "customization_options": {option: _contents(chosen) for option, chosen in values.items()},
        "asin": asin,
        "category": aisle.category,
        "query": query,
        "page": 1,
    }
    return item, described


def _pricing(rng: random.Random) -> str:
    low = rng.randint(300, 9000) / 100
    return f"${low:.2f} - ${low + rng.randint(100, 900) / 100:.2f}" if rng.random() < _RANGE_SHARE else f"${low:.2f}"


def _contents(values: Sequence[str]) -> list[dict[str, Any]]:
    return [{"is_selected": False, "is_available": True, "value": value, "image": None} for value in values]


def _spoken(rng: random.Random, item: dict[str, Any], described: list[str]) -> dict[str, Any]:
    """One instruction as people gave them: the options are values without names."""
    groups: dict[str, Any] = item["customization_options"]
    chosen = [rng.choice(contents)["value"] for contents in groups.values()]
    wanted = f"{item['query']} that are {' and '.join(described)}"
    return {
        "asin": item["asin"],
        "instruction": f"i am looking for {wanted}, in {' and '.join(chosen)}.",
        "attributes": described,
        "instruction_attributes": described,
        "instruction_options": chosen,
    }
