"""The text of a page, which the agent reads: plain, or with marked buttons."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from envs.webshop.goals import Goal
from envs.webshop.session import BACK_TO_SEARCH, BUY, NEXT, PREVIOUS, SUB_PAGES, Page, Session, address
from envs.webshop.shop import Shop

_SPACES = " \t\n\f\r"


@dataclass(frozen=True, slots=True)
class Node:
    """One visible string."""

    text: str
    """The string."""

    role: Literal["text", "button", "product", "option"] = "text"
    """What a click on it does; "text" cannot be clicked."""


def text(session: Session, goal: Goal, shop: Shop, score: float) -> str:
    """The strings of a page, joined by " [SEP] "."""
    return " [SEP] ".join(node.text.strip() for node in _visible(session, goal, shop, score))


def text_rich(session: Session, goal: Goal, shop: Shop, score: float) -> str:
    """One line per string, with marks on what can be clicked and on what was clicked."""
    where = address(session, shop)
    visited = {shop.product(number).asin for number in session.visited}
    lines: list[str] = []
    clicked: list[str] = []
    for node in _visible(session, goal, shop, score):
        mark = "button"
        if node.role == "option" and f'"{node.text}"' in where:
            mark = "clicked button"
            clicked.insert(0, f"You have clicked {node.text}.")
        elif node.role == "product" and node.text in visited:
            mark = "clicked button"
        before = {"text": "", "button": "", "product": "\n", "option": "  "}[node.role]
        lines.append(node.text if node.role == "text" else f"{before}[{mark}] {node.text} [{mark}_]")
    return "".join(f"{line}\n" for line in [*clicked, *lines])


def _visible(session: Session, goal: Goal, shop: Shop, score: float) -> Iterator[Node]:
    """The strings that an HTML parser finds: no empty strings, and no white space with a line break."""
    for node in _nodes(session, goal, shop, score):
        if node.text.strip(_SPACES):
            yield node
        elif node.text and "\n" not in node.text:
            yield Node(" ", node.role)


def _nodes(session: Session, goal: Goal, shop: Shop, score: float) -> Iterator[Node]:
    if session.page is Page.DONE:
        yield from map(Node, _receipt(session, shop, score))
    elif session.page is Page.SEARCH:
        yield from (Node("WebShop"), Node("Instruction: "), Node(goal.text), Node("Search", "button"))
    else:
        yield from (Node("Instruction:"), Node(goal.text), Node(BACK_TO_SEARCH, "button"))
        yield from {Page.RESULTS: _results, Page.ITEM: _item, Page.SUB: _sub_page}[session.page](session, shop)


def _results(session: Session, shop: Shop) -> Iterator[Node]:
    yield Node(f"Page {session.number} (Total results: {len(session.hits)})")
    if session.number > 1:
        yield Node(PREVIOUS, "button")
    yield Node(NEXT, "button")
    for number in session.shown:
        product = shop.product(number)
        yield from (Node(product.asin, "product"), Node(product.title), Node(product.price_text))


def _item(session: Session, shop: Shop) -> Iterator[Node]:
    product = shop.product(session.product)
    yield Node(PREVIOUS, "button")
    for name, values in product.options.items():
        yield Node(name)
        yield from (Node(value, "option") for value in values)
    yield from (Node(product.title), Node(f"Price: {product.price_text}"), Node("Rating: N.A."))
    yield from (Node(name, "button") for name in (*SUB_PAGES, BUY))


def _sub_page(session: Session, shop: Shop) -> Iterator[Node]:
    product = shop.product(session.product)
    yield Node(PREVIOUS, "button")
    if session.sub == "Description":
        yield Node(product.description)
    elif session.sub == "Features":
        yield from (Node(f" {bullet}") for bullet in product.bullets)


def _receipt(session: Session, shop: Shop, score: float) -> Iterator[str]:
    yield from ("Thank you for shopping with us!", "Your code: ", "None", " (Paste it in your MTurk interface.)")
    yield from ("Purchased", "asin", shop.product(session.product).asin, "options", _script_json(session.options))
    for name in ("attrs", "category", "query", "product category"):
        yield from (name, "None")
    yield from ("Target", "asin", "options", "attrs", "price upper", "instuction text", "category", "product category")
    yield from ("query", "Goal ", "None", "Reward", "Your score (min 0.0, max 1.0)", str(score))
    yield from ("Reward Details ", "None")


def _script_json(value: object) -> str:
    """JSON as the original's templates print it: sorted keys, escaped for HTML."""
    plain = json.dumps(value, sort_keys=True)
    for letter in "<>&'":
        plain = plain.replace(letter, f"\\u{ord(letter):04x}")
    return plain
