"""A user's own estimator, loaded by its dotted name or by the entry point of its package."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

ENTRY_POINTS = "stepcredit.estimators"
"""The group of entry points in which an installed package declares its estimators."""


def with_name(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options; if they have a `_target_` and no name, with the last part of the target for a name."""
    target = options.get("_target_")
    return dict(options) if target is None else {"name": _split(str(target))[1], **options}


def loaded(target: str) -> Callable[..., Any]:
    """The maker of the estimator at "package.module.Name" or "package.module:Name".

    Of a class it is the class; of a function it is a call without options that gives the function. Raises ValueError
    where nothing can be loaded from there.
    """
    module, name = _split(target)
    try:
        entry = getattr(import_module(module), name)
    except Exception as error:  # a user's module: its import may raise anything
        raise ValueError(
            f"_target_={target!r} cannot be loaded ({type(error).__name__}: {error}): give package.module.Name of a "
            "class or function that this Python can import, in the working folder or on PYTHONPATH"
        ) from error
    return _maker(entry, f"_target_={target!r}")


def installed(name: str) -> Callable[..., Any] | None:
    """The maker of the estimator that an installed package declares under that name; None if there is none.

    Raises ValueError where the entry point cannot be loaded.
    """
    point = next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)
    if point is None:
        return None
    try:
        entry = point.load()
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"estimator {name!r} is the entry point {point.value!r}, which cannot be loaded ({error}): mend or "
            "reinstall the package that declares it, or name the class with `_target_`"
        ) from error
    return _maker(entry, f"estimator {name!r}, the entry point {point.value!r},")


def _split(target: str) -> tuple[str, str]:
    """The module and the name in it: "package.module:Name", as of a world, or "package.module.Name"."""
    module, _, name = target.partition(":") if ":" in target else target.rpartition(".")
    return module, name


def _maker(entry: Any, who: str) -> Callable[..., Any]:
    """A class makes estimators from its options; any other callable is itself the estimator."""
    if not callable(entry):
        raise ValueError(f"{who} is {entry!r:.80}, which cannot be called: name a class, or a function of a batch")
    return entry if isinstance(entry, type) else lambda: entry
