"""One record that describes a world to the rest of the system."""

import string
from collections.abc import Callable
from dataclasses import dataclass, field

from envs.base import Env
from envs.prompts import Dialect, Prompter, prompter

ASCII = string.ascii_letters + string.digits + string.punctuation + " "


@dataclass(frozen=True, slots=True, kw_only=True)
class GymSpec:
    """How Gymnasium sees a world. Training does not use it."""

    id: str | None = None
    """The id of a world of `envs.WORLDS`, such as "stepcredit/TextCraft-v0"; every world also has the id
    "stepcredit/World-v0" with `world=NAME_OR_TARGET`."""

    max_observation: int = 2**16
    """The longest observation, in characters."""

    max_action: int = 512
    """The longest action, in characters."""

    charset: str | None = None
    """The characters of a line, in observations and actions; None allows any text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSpec:
    """A world as a whole: each package under `envs/` exports one as `WORLD`, and so does a package of your own.

    >>> from envs import WORLDS
    >>> env = WORLDS["textcraft"].make(max_steps=5)
    """

    name: str
    """What `env.world` and `envs.make` call it. Has no dot and no colon, which mark a module."""

    make: Callable[..., Env]
    """The class, or a function that returns an `Env`. Its keyword parameters are the world's options."""

    dialect: Dialect
    """How the prompts speak to it."""

    gym: GymSpec = field(default_factory=GymSpec)
    """Its id and its text spaces in Gymnasium."""

    def prompter(self, style: str) -> Prompter:
        """The world's prompts in a style, such as "react". Raises EnvError for a style that does not exist."""
        return prompter(self.dialect, style)
