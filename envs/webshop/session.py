"""A customer's session: which page is open, and which page an action opens."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from envs.webshop.shop import Shop

BACK_TO_SEARCH, NEXT, PREVIOUS, BUY = "Back to Search", "Next >", "< Prev", "Buy Now"
SUB_PAGES = ("Description", "Features", "Reviews")
PER_PAGE = 10
_ADDRESS = "http://127.0.0.1:3000"
_ACTION = re.compile(r"(.+)\[(.+)\]")


class Page(StrEnum):
    """The kinds of pages. The values are those in the original's addresses."""

    SEARCH = ""
    RESULTS = "search_results"
    ITEM = "item_page"
    SUB = "item_sub_page"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The state of a session. It is immutable, so that an episode can return to any earlier one."""

    goal: int
    """The goal's index."""

    page: Page = Page.SEARCH
    """The kind of the open page."""

    keywords: str = ""
    """The last query."""

    hits: tuple[int, ...] = ()
    """The numbers of the products it found, best first."""

    number: int = 1
    """Which page of results is open or was last open, from 1."""

    product: int = -1
    """The number of the open product; -1 if none is open."""

    sub: str = ""
    """The open sub-page of the product; empty if none is."""

    options: Mapping[str, str] = field(default_factory=dict[str, str])
    """The chosen options: name -> value, in the order of choosing."""

    visited: frozenset[int] = frozenset()
    """The products opened since the search page was last open."""

    @property
    def shown(self) -> tuple[int, ...]:
        """The products of the open page of results."""
        return self.hits[(self.number - 1) * PER_PAGE : self.number * PER_PAGE]


def address(session: Session, shop: Shop) -> str:
    """The URL that the original WebShop gives to the open page.

    It says everything about the session but the visited products. Options stand in the order in which they were chosen.
    """
    if session.page is Page.SEARCH:
        return f"{_ADDRESS}/{session.goal}"
    base = f"{_ADDRESS}/{session.page}/{session.goal}"
    words = session.keywords.replace(" ", "+")
    if session.page is Page.RESULTS:
        return f"{base}/{words}/{session.number}"
    asin = shop.product(session.product).asin
    if session.page is Page.ITEM:
        return f"{base}/{asin}/{words}/{session.number}/{json.dumps(session.options)}"
    if session.page is Page.SUB:
        return f"{base}/{asin}/{words}/{session.number}/{session.sub}/{session.options}"
    return f"{base}/{asin}/{session.options}"


def state_key(session: Session, shop: Shop) -> str:
    """The state's name: the address with sorted options, so that the order of choosing makes no difference."""
    return address(replace(session, options=dict(sorted(session.options.items()))), shop)


def clickables(session: Session, shop: Shop) -> tuple[str, ...]:
    """What can be clicked: buttons in page order, then products, then option values. Lower case, no duplicates."""
    match session.page:
        case Page.SEARCH:
            return ("search",)
        case Page.RESULTS:
            paging = [PREVIOUS, NEXT] if session.number > 1 else [NEXT]
            names = [BACK_TO_SEARCH, *paging, *(shop.product(number).asin for number in session.shown)]
        case Page.ITEM:
            values = [value for group in shop.product(session.product).options.values() for value in group]
            names = [BACK_TO_SEARCH, PREVIOUS, *SUB_PAGES, BUY]
            return tuple(dict.fromkeys([*(name.lower() for name in names), *values]))
        case Page.SUB:
            names = [BACK_TO_SEARCH, PREVIOUS]
        case Page.DONE:
            names = []
    return tuple(dict.fromkeys(name.lower() for name in names))


def parse(action: str) -> tuple[str, str] | None:
    """The name and the lower-case argument of `name[argument]`; None for a line of another form."""
    parts = _ACTION.match(action)
    return None if parts is None else (parts[1], parts[2].lower())


def follow(session: Session, shop: Shop, action: str) -> Session:
    """The session after an action; the same session if the action has no meaning on this page."""
    match parse(action):
        case ("search", keywords):
            return _results(replace(session, keywords=keywords, hits=shop.search(keywords)), 1)
        case ("click", target) if target != "search" and target in clickables(session, shop):
            return _clicked(session, shop, target)
        case _:
            return session


def _results(session: Session, number: int) -> Session:
    return replace(session, page=Page.RESULTS, number=number, product=-1, sub="", options={})


def _clicked(session: Session, shop: Shop, target: str) -> Session:
    # As in the original, an option value with the name of a button acts as the button.
    if target == BUY.lower():
        return replace(session, page=Page.DONE, sub="")
    if target == BACK_TO_SEARCH.lower():
        return Session(goal=session.goal)
    if target == NEXT.lower() and session.page is Page.RESULTS:
        return _results(session, session.number + 1)
    if target == PREVIOUS.lower():
        if session.page is Page.SUB:
            return replace(session, page=Page.ITEM, sub="")
        return _results(session, session.number - (session.page is Page.RESULTS))
    for sub in SUB_PAGES:
        if target == sub.lower():
            return replace(session, page=Page.SUB, sub=sub)
    if session.page is Page.RESULTS:
        product = next(number for number in session.shown if shop.product(number).asin.lower() == target)
        return replace(session, page=Page.ITEM, product=product, visited=session.visited | {product})
    return replace(session, options={**session.options, option_of(session, shop, target): target})


def option_of(session: Session, shop: Shop, value: str) -> str:
    """The option that a click on a value sets: the last one that has this value."""
    groups = shop.product(session.product).options.items()
    return [name for name, values in groups if value in values][-1]
