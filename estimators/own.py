"""A user's own estimator: found by its dotted name, or by the entry point that its package declares."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

ENTRY_POINTS = "stepcredit.estimators"


def with_name(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options; where they have a `_target_` and no name, the name is the target's last part."""
    target = options.get("_target_")
    return dict(options) if target is None else {"name": str(target).rpartition(".")[2], **options}


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
    return _maker(found, f"_target_={target!r}")


def installed(name: str) -> Callable[..., Any] | None:
    """The same for an installed package's entry point of that name; None where there is none."""
    point = next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)
    if point is None:
        return None
    try:
        found = point.load()
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"estimator {name!r} is the entry point {point.value!r}, which cannot be loaded ({error}): mend or "
            "reinstall the package that declares it, or name the class with `_target_`"
        ) from error
    return _maker(found, f"estimator {name!r}, the entry point {point.value!r},")


def _maker(found: Any, who: str) -> Callable[..., Any]:
    """A class makes estimators from its options; anything else that can be called is the estimator."""
    if not callable(found):
        raise ValueError(f"{who} is {found!r:.80}, which cannot be called: name a class, or a function of a batch")
    return found if isinstance(found, type) else lambda: found
