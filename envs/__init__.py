"""The worlds in text. `make` builds one; nothing in this package knows tokens, torch or Ray."""

import inspect
from collections.abc import Mapping
from typing import Any

from envs import own
from envs.alfworld import WORLD as ALFWORLD
from envs.arithmetic import WORLD as ARITHMETIC
from envs.base import Ending, Env, EnvError, EnvStep, hint
from envs.code import WORLD as CODE
from envs.episode import Episode
from envs.reasoning import WORLD as REASONING_GYM
from envs.spec import GymSpec, WorldSpec
from envs.textcraft import WORLD as TEXTCRAFT
from envs.webshop import WORLD as WEBSHOP

__all__ = ["WORLDS", "Ending", "Env", "EnvError", "EnvStep", "Episode", "GymSpec", "WorldSpec", "find", "make"]

WORLDS: Mapping[str, WorldSpec] = {
    world.name: world
    for world in (
        ALFWORLD,
        ARITHMETIC,
        CODE,
        REASONING_GYM,
        TEXTCRAFT,
        WEBSHOP,
    )
}


def find(reference: str) -> WorldSpec:
    """The world of a name or of a target.

    A reference with a colon or a dot is a target, "package.module:SPEC". Any other is the name of a world of this
    package, else of an installed package's entry point in the group "stepcredit.worlds".
    Raises EnvError for a name that does not exist, with the nearest one that does, and for a target or an entry point
    that cannot be loaded.
    """
    if own.is_target(reference):
        return own.loaded(reference)
    world = WORLDS.get(reference) or own.installed(reference)
    if world is None:
        raise EnvError(f"there is no world {reference!r}; {hint(reference, [*WORLDS, *own.installed_names()])}")
    return world


def make(reference: str, **options: Any) -> Env:
    """A world of `find`, with its own options: `make("textcraft", recipes=FOLDER)`.

    Raises EnvError where `find` does, for an option that the world does not have, and for a value that it refuses.
    """
    world = find(reference)
    parameters = inspect.signature(world.make).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for option in options:
        if option not in parameters and not takes_any:
            raise EnvError(f"{world.name} has no option {option!r}; {hint(option, sorted(parameters))}")
    return world.make(**options)
