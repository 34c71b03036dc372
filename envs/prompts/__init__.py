"""Prompts: what the policy reads at each turn, and how its answer becomes an action."""

from collections.abc import Callable, Mapping
from functools import partial

from envs.base import EnvError, hint
from envs.prompts.bare import Bare
from envs.prompts.dialect import Dialect
from envs.prompts.messages import Message, Prompter, Reply, Turn
from envs.prompts.react import React

__all__ = ["STYLES", "Bare", "Dialect", "Message", "Prompter", "React", "Reply", "Turn", "prompter"]

STYLES: Mapping[str, Callable[[Dialect], Prompter]] = {
    "react": React,
    "react_loose": partial(React, loose=True),
    "act": partial(React, thinks=False),
    "subgoals": partial(React, subgoals=True),
    "bare": Bare,
    "bare_listed": partial(Bare, listing=True),
}


def prompter(dialect: Dialect, style: str) -> Prompter:
    """The prompts of a world in a style of `STYLES`. Raises EnvError for a style that does not exist."""
    if style not in STYLES:
        raise EnvError(f"there is no prompt style {style!r}; {hint(style, sorted(STYLES))}")
    return STYLES[style](dialect)
