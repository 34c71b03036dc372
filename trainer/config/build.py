"""Build frozen config dataclasses from plain settings. This is the one place that checks types and ranges."""

import difflib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from trainer.config.derived import Follows, Rule, Unused
from trainer.config.ranges import in_range, range_words

T = TypeVar("T")
NOT_SET = "???"  # how OmegaConf writes a setting that has no value yet
LIKE_A_SLIP = 0.8  # likeness of two names above which the one is the other, mistyped
MOST_TO_CHOOSE_FROM = 3  # settings that a refusal asks about


class ConfigError(ValueError):
    """A setting that cannot be used. The message names the setting, its value and the remedy."""


class ModelError(ValueError):
    """A model that does not exist or does not fit. The message names the value and the remedy."""


def build(cls: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """Build `cls` from nested plain values. `path` is the dotted name of the group with a dot at its end.

    Settings that `cls.derived` lists are filled in here. Raises ConfigError for a setting that is unknown, missing,
    of the wrong type, out of its range or derived, and for settings that do not go together.
    """
    values = {key: value for key, value in values.items() if not _is_not_set(value)}
    own_fields = _fields(cls)
    for key, value in values.items():
        if key not in own_fields:
            raise ConfigError(f"unknown setting {path}{key}={written(value)}: {_closest(str(key), own_fields)}")
    values = _derive(cls, values)
    for name, field in own_fields.items():
        if name not in values and _default(field) is MISSING:
            raise ConfigError(f"{path}{name} is not set: add {path}{name}=...")
    hints = _hints(cls)
    built = {key: convert(hints[key], value, f"{path}{key}") for key, value in values.items()}
    try:
        return cls(**built)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def settable(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a config that was built, without those that `build` fills in."""
    plain = deepcopy(dict(values))
    for path, rule in getattr(cls, "derived", {}).items():
        *groups, name = path.split(".")
        group: Any = plain
        for inner in groups:
            group = group.get(inner, {}) if isinstance(group, Mapping) else {}
        if _is_fixed(rule) and isinstance(group, dict):
            group.pop(name, None)
    return plain


def nearest_setting(cls: type, key: str, siblings: Iterable[str] = ()) -> str:
    """What to tell a user who wrote the unknown setting `key`, such as "learner.los.clip_low".

    `siblings` are further names that stand beside the last part of `key`, such as the options of a world. Returns the
    end of a refusal: the setting to use instead, a correction, or the names that are known.
    """
    if rule := _rule_for(cls, key):
        return _instead(rule)
    if value := value_above(cls, key):
        return f"{value} is one value, not a group: write {value}=..."
    group, dot, name = key.rpartition(".")
    names = list(dict.fromkeys([*_setting_names(cls), *(f"{group}{dot}{sibling}" for sibling in siblings)]))
    here = {candidate.rpartition(".")[2]: candidate for candidate in names if candidate.rpartition(".")[0] == group}
    similar = [here[match] for match in difflib.get_close_matches(name, here)]
    is_slip = bool(similar) and _likeness(key, similar[0]) > LIKE_A_SLIP
    if not is_slip and not is_open(cls, group) and (several := _with_word(name, group, names)):
        return f"did you mean {' or '.join(map(repr, several))}?"
    near = (
        similar
        or [candidate for candidate in names if candidate.rpartition(".")[2] == name]
        or ([] if group in names else difflib.get_close_matches(key, names))
    )
    if name == "_target_" and is_open(cls, group):
        return f"one of your own is ~{group} +{group}._target_=..."
    if near:
        return f"did you mean {max(near, key=lambda known: _likeness(key, known))!r}?"
    if is_open(cls, group):
        return f"to add an option of your own, write +{key}=..."
    while group and group not in names:
        group, dot, _ = group.rpartition(".")
    return f"known: {', '.join(candidate for candidate in names if candidate.rpartition('.')[0] == group)}"


def has_setting(cls: type, key: str) -> bool:
    """Whether a user may set `key`, such as "learner.learning_rate"."""
    return key in _setting_names(cls)


def value_above(cls: type, key: str) -> str | None:
    """The setting that `key` takes for a group although it holds one value; None if there is none.

    >>> value_above(TrainConfig, "updates.x")
    'updates'
    """
    names = list(_setting_names(cls))
    group = key.rpartition(".")[0]
    while group and group not in names:
        group = group.rpartition(".")[0]
    if not group or is_open(cls, group) or any(name.startswith(f"{group}.") for name in names):
        return None
    return group


def convert(kind: Any, value: Any, path: str) -> Any:
    """Return `value` as type `kind` without loss of information. Raises ConfigError if it does not fit."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *metadata = get_args(kind)
        return _checked(convert(inner, value, path), metadata, path)
    if kind is Any:
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return build(kind, _as_group(value, path), f"{path}.")
    if origin in (Union, types.UnionType):
        return _first_that_fits(kind, value, path)
    if origin is Literal:
        if value not in get_args(kind):
            raise ConfigError(f"{path}={written(value)}: choose one of {', '.join(map(written, get_args(kind)))}")
        return value
    if origin is tuple:
        return _as_tuple(kind, value, path)
    if origin is not None and issubclass(origin, Mapping):
        return dict(_as_group(value, path))
    return _scalar(kind, value, path)


def written(value: Any) -> str:
    """A value as a message writes it: null, true and false as YAML does, a tuple as a list.

    >>> written(None), written((True, "a"))
    ('null', "[true, 'a']")
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, cast(Sequence[Any], value)))}]"
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))


def _checked(value: Any, metadata: Iterable[Any], path: str) -> Any:
    """Return `value`, or raise ConfigError if a constraint of `metadata` does not hold. None is always allowed."""
    if value is not None and not in_range(value, metadata):
        shown = value if isinstance(value, str) else written(value)
        raise ConfigError(f"{path}={shown} is out of range: choose {range_words(metadata)}")
    return value


def _derive(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the settings filled in that follow from others."""
    rules: Mapping[str, Rule] = getattr(cls, "derived", {})
    filled = deepcopy(dict(values)) if rules else dict(values)
    for path, rule in rules.items():
        value = _at(filled, path)
        if value is not MISSING and not (isinstance(rule, Follows) and rule.free):
            raise ConfigError(f"{path}={written(value)} cannot be set by hand: {_instead(rule)}")
        if value is MISSING or value is None:
            _put(filled, path, _derived(cls, filled, path, rule))
    return filled


def _derived(cls: type, values: Mapping[str, Any], path: str, rule: Rule) -> Any:
    """The value of a derived setting. A value that does not suit it is refused under the name of its source."""
    if isinstance(rule, Unused):
        return rule.value
    source = _value_of(cls, values, rule.source)
    if rule.by is None:
        return convert(_hint_of(cls, path), source, rule.source)
    return rule.by(source) if rule.also is None else rule.by(source, _value_of(cls, values, rule.also))


def _instead(rule: Rule) -> str:
    if isinstance(rule, Unused):
        return f"{rule.reason}; leave it out"
    return f"it follows from {rule.source}, set that instead"


def _at(values: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path of nested mappings; MISSING if there is none."""
    value: Any = values
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value or _is_not_set(value[name]):
            return MISSING
        value = value[name]
    return value


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path. A group that is not a mapping stays as it is: `convert` refuses it."""
    *groups, name = path.split(".")
    for group in groups:
        inner = values.setdefault(group, {})
        if not isinstance(inner, dict):
            return
        values = inner
    values[name] = value


def _value_of(cls: type, values: Mapping[str, Any], path: str, start: str = "") -> Any:
    """The setting at a dotted path, converted and in its range; its default if it is left out."""
    name, _, rest = path.partition(".")
    hint, value = _hints(cls)[name], values.get(name, MISSING)
    if rest:
        value = _as_group({} if value is MISSING else value, f"{start}{name}")
        return _value_of(hint, value, rest, f"{start}{name}.")
    if value is MISSING or _is_not_set(value):
        value = _default(_fields(cls)[name])
    if value is MISSING:
        raise ConfigError(f"{start}{name} is not set: add {start}{name}=...")
    return convert(hint, value, f"{start}{name}")


def _hint_of(cls: type, path: str) -> Any:
    """The type of the field at a dotted path, ranges included."""
    hint: Any = cls
    for name in path.split("."):
        hint = _hints(hint)[name]
    return hint


def _setting_names(cls: type, start: str = "") -> Iterator[str]:
    """The dotted names of all groups and settings that a user may set."""
    rules: Mapping[str, Rule] = getattr(cls, "derived", {})
    for name, hint in _hints(cls).items():
        if name not in _fields(cls):
            continue
        inner = [f"{start}{name}"]
        if is_dataclass(hint) and isinstance(hint, type):
            inner += _setting_names(hint, f"{start}{name}.")
        yield from (path for path in inner if not _is_fixed(rules.get(path)))


def _rule_for(cls: type, key: str) -> Rule | None:
    """The rule of a setting that cannot be set by hand, or of the group that it stands in."""
    rules: Mapping[str, Rule] = getattr(cls, "derived", {})
    while key and not _is_fixed(rules.get(key)):
        key = key.rpartition(".")[0]
    return rules.get(key)


def _is_fixed(rule: Rule | None) -> bool:
    return rule is not None and not (isinstance(rule, Follows) and rule.free)


def is_open(cls: type, group: str) -> bool:
    """Whether `group` is a mapping that takes any names, such as `env.options`."""
    hint: Any = cls
    for name in group.split("."):
        if not (is_dataclass(hint) and isinstance(hint, type)) or name not in _hints(hint):
            return False
        hint = _hints(hint)[name]
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _with_word(name: str, group: str, names: Sequence[str]) -> list[str]:
    """The settings with the word `name` in their last part, of the group if it has any; none if they are many."""
    having = [candidate for candidate in names if name in candidate.rpartition(".")[2].split("_")]
    chosen = [candidate for candidate in having if candidate.rpartition(".")[0] == group] or having
    return chosen if len(chosen) <= MOST_TO_CHOOSE_FROM else []


def _closest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _likeness(name: str, known: str) -> float:
    return difflib.SequenceMatcher(None, name, known).ratio()


def _is_not_set(value: Any) -> bool:
    return isinstance(value, str) and value == NOT_SET


@cache
def _hints(cls: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


@cache
def _fields(cls: Any) -> dict[str, Field[Any]]:
    return {field.name: field for field in fields(cls)}


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _as_group(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}={written(value)} is not a group of settings")
    return value


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
        raise ConfigError(f"{path}={written(value)} is not a list: write {path}=[...]")
    inner = get_args(kind)
    kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
    if len(kinds) != len(value):
        raise ConfigError(f"{path}={written(value)} has {len(value)} entries, expected {len(kinds)}")
    return tuple(convert(k, item, f"{path}[{i}]") for i, (k, item) in enumerate(zip(kinds, value, strict=True)))


_REMEDIES: Mapping[Any, str] = {
    int: "give a whole number, such as 4",
    float: "give a number, such as 0.5",
    bool: "give true or false",
}
"""What to give where a value is not of the type."""


def _scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is type(None):
        if value is None:
            return None
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    remedy = f": {_REMEDIES[kind]}" if kind in _REMEDIES else ""
    raise ConfigError(f"{path}={written(value)} is not of type {getattr(kind, '__name__', kind)}{remedy}")
