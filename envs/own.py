"""A user's own world, which lives outside this repository: loaded from a module, or from an installed package."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from envs.base import EnvError
from envs.spec import WorldSpec

ENTRY_POINTS = "stepcredit.worlds"


def is_target(reference: str) -> bool:
    """Whether a reference names a module ("my_world:WORLD", "my_world.WORLD") and not a world."""
    return ":" in reference or "." in reference


def loaded(target: str) -> WorldSpec:
    """The spec at "package.module:SPEC" or "package.module.SPEC".

    Raises EnvError if the module cannot be imported or does not hold a `WorldSpec` of that name.
    """
    module, _, name = target.partition(":") if ":" in target else target.rpartition(".")
    try:
        value = getattr(import_module(module), name)
    except Exception as error:  # a user's module: its import may raise anything
        raise EnvError(
            f"the world {target!r} cannot be loaded ({type(error).__name__}: {error}): give package.module:SPEC of a "
            "WorldSpec in a module of the working folder or on PYTHONPATH"
        ) from error
    return _checked(value, f"the world {target!r}")


def installed(name: str) -> WorldSpec | None:
    """The spec that an installed package declares under this name in the entry-point group; None if none does.

    Raises EnvError if the entry point cannot be loaded or is not a `WorldSpec`.
    """
    point = next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)
    if point is None:
        return None
    try:
        value = point.load()
    except Exception as error:  # a user's module: its import may raise anything
        raise EnvError(
            f"the world {name!r} is the entry point {point.value!r}, which cannot be loaded ({type(error).__name__}: "
            f"{error}): repair or reinstall the package that declares it"
        ) from error
    return _checked(value, f"the world {name!r}, entry point {point.value!r},")


def installed_names() -> list[str]:
    """The names of all worlds that installed packages declare, sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINTS)})


def _checked(value: Any, what: str) -> WorldSpec:
    if not isinstance(value, WorldSpec):
        raise EnvError(f"{what} is {value!r:.80}, not a WorldSpec: export WORLD = WorldSpec(name=..., make=..., "
                       "dialect=...) and name that")  # fmt: skip
    return value
