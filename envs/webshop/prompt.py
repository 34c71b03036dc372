"""How the prompts speak to WebShop."""

import re

from envs.prompts import Dialect

_INTRODUCTION = (
    "You shop on a web site. Find and buy a product that fits the instruction: its kind, its attributes, the options "
    "asked for and the price. Your actions are:\n"
    "search[WORDS]: search for products.\n"
    "click[NAME]: click a button, a product or an option of the open page, by the text it shows.\n"
    "Choose every option the instruction asks for before you click[buy now], which ends the task."
)
_ACTION = re.compile(r"(search|click)\[[^\[]+\]")  # a site reads what stands before the last bracket as the name


def is_action(line: str) -> bool:
    """Whether a line has the form of an action.

    >>> is_action("search[red mug]"), is_action("click[]"), is_action("buy now"), is_action("search[a] click[b]")
    (True, False, False, False)
    """
    return _ACTION.fullmatch(line) is not None


DIALECT = Dialect(introduction=_INTRODUCTION, grammar=is_action, lower_case=True)
