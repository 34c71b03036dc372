"""A user's own estimator: found by its dotted name, or by the entry point that its package declares."""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

ENTRY_POINTS = "stepcredit.estimators"


def loaded(target: str) -> Callable[..., Any]:
    """What makes the estimator at "package.module.Name": the class itself, or a call without options for a function.

    Raises ValueError where nothing is there, with what was tried.
    """
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"_target_={target!r} cannot be loaded ({error}): give package.module.Name of a class or function that "
            "this Python can import, with its folder on PYTHONPATH"
        ) from error
    return _maker(found)


def installed(name: str) -> Callable[..., Any] | None:
    """The same for an installed package's entry point of that name; None where there is none."""
    point = next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)
    return None if point is None else _maker(point.load())


def _maker(found: Any) -> Callable[..., Any]:
    """A class makes estimators from its options; anything else is the estimator."""
    return found if isinstance(found, type) else lambda: found
