"""Plain mappings become frozen dataclasses, once, at the door; what does not fit is refused with the remedy."""

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting that cannot be used: names the key, the value and the remedy."""


class ModelError(ValueError):
    """A model that cannot be had or does not fit; the message names the value and the remedy."""


def build(cls: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """`cls(**values)`, nested dataclasses included. Raises ConfigError for unknown, missing and ill-typed keys."""
    hints = get_type_hints(cls)
    known = {field.name: field for field in fields(cls)}  # pyright: ignore[reportArgumentType]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"unknown setting {path}{key}={values[key]!r}: {hint}")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{path}{name} is not set: add {path}{name}=...")
    built = {key: convert(hints[key], value, f"{path}{key}") for key, value in values.items()}
    try:
        return cls(**built)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def convert(kind: Any, value: Any, path: str) -> Any:
    """`value` as `kind`, without loss, or ConfigError."""
    origin = get_origin(kind)
    if kind is Any:
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}={value!r} is not a group of settings")
        return build(kind, value, f"{path}.")
    if origin in (Union, types.UnionType):
        return _first_that_fits(kind, value, path)
    if origin is Literal:
        if value not in get_args(kind):
            raise ConfigError(f"{path}={value!r}: choose one of {', '.join(map(repr, get_args(kind)))}")
        return value
    if origin is tuple:
        return _as_tuple(kind, value, path)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}={value!r} is not a group of settings")
        return dict(value)
    return _scalar(kind, value, path)


def _first_that_fits(kind: Any, value: Any, path: str) -> Any:
    errors: list[ConfigError] = []
    for option in get_args(kind):
        try:
            return convert(option, value, path)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def _as_tuple(kind: Any, value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{path}={value!r} is not a list: write {path}=[...]")
    inner = get_args(kind)
    kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
    if len(kinds) != len(value):
        raise ConfigError(f"{path}={value!r} has {len(value)} entries, expected {len(kinds)}")
    return tuple(convert(k, item, f"{path}[{i}]") for i, (k, item) in enumerate(zip(kinds, value, strict=True)))


def _scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is type(None):
        if value is None:
            return None
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{path}={value!r} is not of type {getattr(kind, '__name__', kind)}")
