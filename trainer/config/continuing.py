"""Which settings may differ between a run and another that goes on from its checkpoint (`rollout.marks`)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from estimators import ESTIMATORS
from rollout.marks import Mark, mark_in
from trainer.config.build import ConfigError
from trainer.config.derived import Follows, Rule

LEFT_OUT = frozenset({"cluster", "engine"})
"""Groups that checkpoints of older versions do not name."""
LONGEST_VALUE = 40
"""Characters of a value that is shown in a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting that differs between two runs."""

    name: str
    """The dotted name under which a user sets it."""
    before: Any
    """Its value in the earlier run; None if that did not have it."""
    now: Any
    """Its value in the run that goes on; None as `before`."""
    mark: Mark
    """Whether it may differ."""


@cache
def mark_of(config: type, path: str) -> Mark:
    """The mark of a setting: its own, else that of its nearest group; a setting that follows has its source's."""
    rules: Mapping[str, Rule] = getattr(config, "derived", {})
    rule = rules.get(path)
    if isinstance(rule, Follows) and not rule.free:
        return mark_of(config, rule.source)
    mark: Mark = "binding"
    group: Any = config
    for name in path.split("."):
        if not (is_dataclass(group) and isinstance(group, type)):
            break  # an option of a mapping has the mark of the mapping
        field = next((one for one in fields(group) if one.name == name), None)
        if field is None:
            break  # a setting of another version
        mark = mark_in(field.metadata, mark)
        group = get_type_hints(group)[name]
    return mark


def binding(config: type, settings: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """The settings that are not harmless, nested as they were."""
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        path = f"{group}{name}"
        if isinstance(value, Mapping) and value:
            if inner := binding(config, value, f"{path}."):
                kept[name] = inner
        elif mark_of(config, path) != "harmless":
            kept[name] = value
    return kept


def differences(
    config: type, before: Mapping[str, Any], now: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None
) -> tuple[Difference, ...]:
    """Every setting that differs, by name, under the name of its source where it follows another.

    defaults: what a setting was in effect if the earlier run, of a version without it, does not name it. An option of
    an estimator that a run does not name has its default.
    """
    unknown = LEFT_OUT - before.keys() if defaults is not None else frozenset[str]()
    named, flat_now = flat(_with_options(before)), flat(_with_options(now))
    flat_before = flat(defaults or {}) | named
    rules: Mapping[str, Rule] = getattr(config, "derived", {})
    different: dict[str, Difference] = {}
    for path in sorted(named.keys() | flat_now.keys()):
        old, new = flat_before.get(path), flat_now.get(path)
        if old == new or path.partition(".")[0] in unknown:
            continue
        rule = rules.get(path)
        name = rule.source if isinstance(rule, Follows) and not rule.free else path
        different.setdefault(name, Difference(name=name, before=old, now=new, mark=mark_of(config, path)))
    return tuple(different[name] for name in sorted(different))


def _with_options(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings with all options of their estimator, where it is one of ours."""
    chosen: Any = settings.get("estimator")
    kind = ESTIMATORS.get(chosen.get("name", "")) if isinstance(chosen, Mapping) else None
    if not (is_dataclass(kind) and isinstance(kind, type)):
        return settings
    options = {one.name: one.default for one in fields(kind) if one.init and one.default is not MISSING}
    return {**settings, "estimator": {**options, **chosen}}


def check_same_settings(different: Iterable[Difference], what: str, remedy: str) -> None:
    """Raise ConfigError where settings differ; it names each of them. remedy: what else to do than to set them back."""
    if all_of := tuple(different):
        it = "it" if len(all_of) == 1 else "them"
        raise ConfigError(
            f"{what} was made with {', '.join(f'{one.name}={one.before!r}' for one in all_of)}, this run has "
            f"{', '.join(f'{one.name}={one.now!r}' for one in all_of)}: set {it} back, or {remedy}"
        )


def as_words(different: Iterable[Difference]) -> str:
    """The settings as they are now, as a command line writes them."""
    return " ".join(f"{one.name}={_word(one.now)}" for one in different)


def changes(different: Iterable[Difference]) -> str:
    """What the settings were and what they are: "checkpoint.every 25 -> 10, record none -> rollouts"."""
    return ", ".join(f"{one.name} {_word(one.before)} -> {_word(one.now)}" for one in different)


def plain(config: Any) -> dict[str, Any]:
    """A config as plain JSON values: tuples become lists."""
    return json.loads(json.dumps(asdict(config), default=str))


def flat(settings: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """Nested settings under their dotted keys, as a command line writes them."""
    pairs: dict[str, Any] = {}
    for key, value in settings.items():
        pairs |= flat(value, f"{group}{key}.") if isinstance(value, Mapping) else {f"{group}{key}": value}
    return pairs


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if len(text) <= LONGEST_VALUE else "..."
