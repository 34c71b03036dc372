"""The world in text: `make` builds one of the worlds; nothing here knows tokens, torch or Ray."""

import inspect
from collections.abc import Callable
from typing import Any

from envs.alfworld import ALFWorld
from envs.arithmetic import Arithmetic
from envs.base import Ending, Env, EnvError, EnvStep, hint
from envs.textcraft import TextCraft
from envs.webshop import WebShop

__all__ = ["WORLDS", "Ending", "Env", "EnvError", "EnvStep", "make"]

WORLDS: dict[str, Callable[..., Env]] = {
    "alfworld": ALFWorld,
    "arithmetic": Arithmetic,
    "textcraft": TextCraft,
    "webshop": WebShop,
}


def make(name: str, **options: Any) -> Env:
    """A world by name, with its own options: `make("textcraft", recipes=FOLDER)`.

    Raises EnvError for a name or an option that does not exist, with the nearest one that does, and for what the
    world itself refuses.
    """
    if name not in WORLDS:
        raise EnvError(f"there is no world {name!r}; {hint(name, WORLDS)}")
    known = inspect.signature(WORLDS[name]).parameters
    for option in options:
        if option not in known:
            raise EnvError(f"{name} has no option {option!r}; {hint(option, sorted(known))}")
    return WORLDS[name](**options)
