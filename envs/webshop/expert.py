"""The expert: knows the whole shop and the goal, and acts as a good customer would."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from envs.webshop.goals import Goal
from envs.webshop.products import Product
from envs.webshop.reward import Verdict, judge, option_fits
from envs.webshop.session import BACK_TO_SEARCH, BUY, NEXT, PER_PAGE, PREVIOUS, SUB_PAGES, Page, Session
from envs.webshop.shop import Shop

_BUTTONS = frozenset(name.lower() for name in (BACK_TO_SEARCH, BUY, NEXT, PREVIOUS, *SUB_PAGES, "search"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A purchase to make."""

    query: str
    """What to search for."""

    product: int
    """The number of the product to buy, one of the hits."""

    options: Mapping[str, str]
    """The options to choose: name -> value."""

    score: float
    """The score of this purchase, in [0, 1]."""


def next_action(shop: Shop, session: Session) -> str:
    """The next action towards the purchase of `aim`."""
    goal = aim(shop, session.goal)
    match session.page:
        case Page.RESULTS if goal.product in session.hits:
            away = session.hits.index(goal.product) // PER_PAGE + 1 - session.number
            asin = shop.product(goal.product).asin
            return _click(asin if away == 0 else NEXT if away > 0 else PREVIOUS)
        case Page.RESULTS:
            return _click(BACK_TO_SEARCH)
        case Page.ITEM if session.product == goal.product:
            missing = [value for name, value in goal.options.items() if session.options.get(name) != value]
            return _click(missing[0] if missing else BUY)
        case Page.ITEM | Page.SUB:
            return _click(PREVIOUS)
        case _:
            return f"search[{goal.query}]"


def _click(name: str) -> str:
    return f"click[{name.lower()}]"


@lru_cache(maxsize=2**14)
def aim(shop: Shop, index: int) -> Aim:
    """The first purchase that scores 1, among the hits of a few queries; else the best one.

    Some official goals cannot reach 1, because of how the original compares options.
    """
    goal = shop.goal(index)
    best: Aim | None = None
    for query in _queries(goal, shop.product(goal.product)):
        for number in shop.search(query):
            product, price = shop.product(number), shop.price(number)
            if best is not None and _most(judge(goal, product, price, {})) <= best.score:
                continue
            options = fitting_options(goal, product)
            score = judge(goal, product, price, options).score
            if best is None or score > best.score:
                best = Aim(query=query, product=number, options=options, score=score)
            if best.score == 1.0:
                return best
    assert best is not None  # the last query is the title of a product of the shop
    return best


def _most(bare: Verdict) -> float:
    """An upper bound of the score that a purchase can reach with the right options, with a margin for rounding."""
    return bare.score + (bare.weights[1] or 0.0) * bare.type_factor + 1e-9


def _queries(goal: Goal, product: Product) -> Iterator[str]:
    """What a customer would type, most specific first. Only an expert knows the last two."""
    options = " ".join(option if isinstance(option, str) else option[1] for option in goal.options)
    description = f"{' '.join(goal.attributes)} {goal.query}"
    for text in (f"{description} {options}", description, goal.text, product.title, product.indexed_text):
        # Brackets would be read as the end of the action.
        yield " ".join(re.sub(r"[\[\]]", " ", text).lower().split())


def fitting_options(goal: Goal, product: Product) -> dict[str, str]:
    """One value per group that together match as many of the goal's options as possible, in the goal's order."""
    group_of = {value: name for name, values in product.options.items() for value in values if _can_click(value)}
    return _assigned([_fitting(option, group_of) for option in goal.options])


def _fitting(option: tuple[str, str] | str, group_of: Mapping[str, str]) -> dict[str, str]:
    """Group -> one of its values that counts for the goal's option; the exact value if the group has it."""
    exact = option if isinstance(option, str) else option[1]
    values: dict[str, str] = {}
    for value, group in sorted(group_of.items(), key=lambda item: item[0] != exact):
        if group not in values and option_fits(option, value):
            values[group] = value
    return values


def _assigned(fits: list[dict[str, str]]) -> dict[str, str]:
    """The largest assignment of options to values that uses no group twice."""
    if not fits:
        return {}
    best = _assigned(fits[1:])
    for group, value in fits[0].items():
        rest = _assigned([{name: other for name, other in values.items() if name != group} for values in fits[1:]])
        if len(rest) + 1 > len(best):
            best = {group: value, **rest}
    return best


def _can_click(value: str) -> bool:
    """Whether a click can name the value: no bracket or line break cuts it, and it is no button's name."""
    return value not in _BUTTONS and bool(value) and not re.search(r"[\[\n]", value)
