"""One customer's way through the shop: which page is open, and where an action leads."""

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
    """The kinds of pages; the text is the one in the original's addresses."""

    SEARCH = ""
    RESULTS = "search_results"
    ITEM = "item_page"
    SUB = "item_sub_page"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where a customer stands. Each change is a new object, so that any of them can be gone back to.

    goal: its index. keywords: of the last search. hits: the products it found, best first. number: which page of them.
    product: the one looked at. sub: the open sub-page. options: name -> value, in the order of choosing.
    visited: products opened since the search page was last seen.
    """

    goal: int
    page: Page = Page.SEARCH
    keywords: str = ""
    hits: tuple[int, ...] = ()
    number: int = 1
    product: int = -1
    sub: str = ""
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    visited: frozenset[int] = frozenset()

    @property
    def shown(self) -> tuple[int, ...]:
        """The products of the open page of results."""
        return self.hits[(self.number - 1) * PER_PAGE : self.number * PER_PAGE]


def address(session: Session, shop: Shop) -> str:
    """The original's address of the open page, which names all of the session but what was visited.

    Options stand in it in the order of choosing.
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
    """Names the state: the address, but the same whatever the order in which the options were chosen."""
    return address(replace(session, options=dict(sorted(session.options.items()))), shop)


def clickables(session: Session, shop: Shop) -> tuple[str, ...]:
    """What can be clicked: buttons in page order, then products, then option values; lower case, each once."""
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
    """Name and lower-case argument of `name[argument]`; None for what has not this form."""
    found = _ACTION.match(action)
    return None if found is None else (found[1], found[2].lower())


def follow(session: Session, shop: Shop, action: str) -> Session:
    """Where an action leads; the same session for one that means nothing on this page."""
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
    # The original looks at the name first: an option value named like a button acts as the button.
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
    """The option that clicking a value sets: of several with this value, the last."""
    groups = shop.product(session.product).options.items()
    return [name for name, values in groups if value in values][-1]
