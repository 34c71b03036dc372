"""The score of a purchase (WebShop 2207.01206, section 3.2, as its code computes it)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz.fuzz import token_set_ratio
from rapidfuzz.utils import default_process

from envs.webshop.goals import Goal
from envs.webshop.products import Product

# The original looks for these inside an option's value, in this order.
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
_LATIN_1 = dict.fromkeys(range(128, 256))  # thefuzz drops these, and only these, before it compares


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A purchase, judged. score: in [0, 1]. The other parts are what it is made of; None where a goal asks for none.

    weights: the shares of attributes, options and price in the sum; they do not contain the type factor.
    """

    score: float
    type_factor: float
    title_score: float
    query_match: bool
    category_match: bool
    attributes: float
    options: float | None
    price: bool
    weights: tuple[float, float | None, float]


def judge(goal: Goal, bought: Product, price: float, options: Mapping[str, str]) -> Verdict:
    """score = type factor x (attributes hit + options hit + price within the cap) / (their number + 1)."""
    title = _title_score(goal.nouns, bought.nouns)
    same_query = bought.query == goal.query
    same_category = len(_categories(bought) & _categories(goal)) >= 2
    factor = _type_factor(title, same_query or same_category)
    attributes = sum(_has_attribute(bought, wanted) for wanted in goal.attributes)
    chosen = _option_hits(goal.options, options.values())
    within = price <= goal.cap
    asked = len(goal.attributes) + len(goal.options) + 1
    return Verdict(
        score=(attributes + chosen + within) / asked * factor,
        type_factor=factor,
        title_score=title,
        query_match=same_query,
        category_match=same_category,
        attributes=attributes / len(goal.attributes),
        options=chosen / len(goal.options) if goal.options else None,
        price=within,
        weights=(len(goal.attributes) / asked, len(goal.options) / asked if goal.options else None, 1 / asked),
    )


def _title_score(wanted: Sequence[str], offered: Sequence[str]) -> float:
    return len(set(offered) & set(wanted)) / len(wanted) if wanted else _NO_NOUNS


def _categories(thing: Goal | Product) -> set[str]:
    return {part.strip() for part in thing.product_category.split("›")}


def _type_factor(title: float, same_kind: bool) -> float:
    if title == 0.0:
        return 0.0
    if title < 0.1:
        return 0.1
    return 1.0 if same_kind or title > 0.2 else 0.5


def _has_attribute(bought: Product, wanted: str) -> bool:
    return any(_alike(own, wanted) for own in bought.attributes) or any(
        wanted in text.lower() for text in (bought.title, " ".join(bought.bullets), bought.description)
    )


def _option_hits(wanted: Sequence[tuple[str, str] | str], chosen: Iterable[str]) -> int:
    values = tuple(chosen)
    return sum(any(option_fits(option, value) for value in values) for option in wanted)


def option_fits(wanted: tuple[str, str] | str, value: str) -> bool:
    """Whether choosing a value counts for a goal's option.

    The first colour in either stands for it. The original looks for the colour in the whole (name, value) pair of a
    synthetic goal, where it is found only if it equals one of the two, and else compares the pair as Python prints it.
    """
    return _alike(_colour(value), _colour(wanted))


def _colour(option: tuple[str, str] | str) -> str:
    return next((colour for colour in _COLOURS if colour in option), str(option))


def _alike(one: str, other: str) -> bool:
    """thefuzz's token_set_ratio above 85: rapidfuzz's, rounded to a whole number, of the words without Latin-1."""
    ratio = token_set_ratio(one.translate(_LATIN_1), other.translate(_LATIN_1), processor=default_process)
    return round(ratio) > _MATCH
