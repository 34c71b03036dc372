"""The score of a purchase (WebShop 2207.01206, section 3.2, as its code computes it)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz.fuzz import token_set_ratio
from rapidfuzz.utils import default_process

from envs.webshop.goals import Goal
from envs.webshop.products import Product

# The original searches an option's value for these words, in this order.
_COLOUR_WORDS = (
    "alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel "
    "camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry "
    "cream crystal dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey "
    "heather indigo ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight "
    "mint mocha multicolor mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow "
    "red rose royal rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal "
    "tiger turquoise violet walnut wheat white wine yellow"
)
_COLOURS = tuple(_COLOUR_WORDS.split())
_MATCH = 85
_NO_NOUNS = 0.2
_LATIN_1 = dict.fromkeys(range(128, 256))  # thefuzz drops exactly these before it compares


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The score of a purchase and its parts."""

    score: float
    """In [0, 1]; 1 is success."""

    type_factor: float
    """0, 0.1, 0.5 or 1: how well the type of product fits."""

    title_score: float
    """The share of the goal's nouns that the bought title has, in [0, 1]."""

    query_match: bool
    """Whether both products have the same query."""

    category_match: bool
    """Whether both products share two or more categories."""

    attributes: float
    """The share of the goal's attributes that the product has, in [0, 1]."""

    options: float | None
    """The share of the goal's options that were chosen, in [0, 1]; None if the goal has none."""

    price: bool
    """Whether the price is within the cap."""

    weights: tuple[float, float | None, float]
    """The weights of attributes, options (None: there are none) and price in the sum, without the type factor."""


def judge(goal: Goal, bought: Product, price: float, options: Mapping[str, str]) -> Verdict:
    """The score of a purchase:

    score = type factor x (attributes matched + options matched + [price <= cap]) / (attributes + options + 1)
    """
    title = _title_score(goal.nouns, bought.nouns)
    same_query = bought.query == goal.query
    same_category = len(_categories(bought) & _categories(goal)) >= 2
    factor = _type_factor(title, same_query or same_category)
    attributes = sum(_has_attribute(bought, attribute) for attribute in goal.attributes)
    chosen = _option_hits(goal.options, options.values())
    within = price <= goal.cap
    parts = len(goal.attributes) + len(goal.options) + 1
    return Verdict(
        score=(attributes + chosen + within) / parts * factor,
        type_factor=factor,
        title_score=title,
        query_match=same_query,
        category_match=same_category,
        attributes=attributes / len(goal.attributes),
        options=chosen / len(goal.options) if goal.options else None,
        price=within,
        weights=(len(goal.attributes) / parts, len(goal.options) / parts if goal.options else None, 1 / parts),
    )


def _title_score(nouns: Sequence[str], bought: Sequence[str]) -> float:
    return len(set(bought) & set(nouns)) / len(nouns) if nouns else _NO_NOUNS


def _categories(thing: Goal | Product) -> set[str]:
    return {part.strip() for part in thing.product_category.split("›")}


def _type_factor(title: float, same_kind: bool) -> float:
    if title == 0.0:
        return 0.0
    if title < 0.1:
        return 0.1
    return 1.0 if same_kind or title > 0.2 else 0.5


def _has_attribute(bought: Product, attribute: str) -> bool:
    return any(_alike(own, attribute) for own in bought.attributes) or any(
        attribute in text.lower() for text in (bought.title, " ".join(bought.bullets), bought.description)
    )


def _option_hits(options: Sequence[tuple[str, str] | str], chosen: Iterable[str]) -> int:
    values = tuple(chosen)
    return sum(any(option_fits(option, value) for value in values) for option in options)


def option_fits(option: tuple[str, str] | str, value: str) -> bool:
    """Whether choosing a value counts for a goal's option.

    A text with a colour word is compared by its first colour only. As in the original, the (name, value) pair of a
    synthetic goal is searched as a pair: a colour counts only if it equals the name or the value. Without one the pair
    is compared as Python prints it.
    """
    return _alike(_colour(value), _colour(option))


def _colour(option: tuple[str, str] | str) -> str:
    return next((colour for colour in _COLOURS if colour in option), str(option))


def _alike(text: str, other: str) -> bool:
    """Whether thefuzz's token_set_ratio is above 85: rapidfuzz's ratio without Latin-1 letters, rounded."""
    ratio = token_set_ratio(text.translate(_LATIN_1), other.translate(_LATIN_1), processor=default_process)
    return round(ratio) > _MATCH
