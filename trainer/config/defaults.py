"""The defaults of a config as plain values, read from its dataclasses: each default stands in one place."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, get_type_hints

from trainer.config.build import NOT_SET
from trainer.config.derived import Follows, Rule


def defaults_of(config: type) -> dict[str, Any]:
    """All settings of `config` as nested plain values; "???" stands for a setting that has no default.

    A setting that follows from others is null where a user may set it, else it is left out.
    """
    return _defaults(config, "", getattr(config, "derived", {}))


def _defaults(config: type, start: str, derived: Mapping[str, Rule]) -> dict[str, Any]:
    hints, plain = get_type_hints(config), dict[str, Any]()
    for field in fields(config):
        rule, kind = derived.get(f"{start}{field.name}"), hints[field.name]
        if rule is not None:
            if isinstance(rule, Follows) and rule.free:
                plain[field.name] = None
        elif is_dataclass(kind) and isinstance(kind, type):
            plain[field.name] = _defaults(kind, f"{start}{field.name}.", derived)
        else:
            plain[field.name] = _plain(_default(field, kind))
    return plain


def _default(field: Any, kind: Any) -> Any:
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    # A group of any names, such as an estimator's options, is empty until a preset fills it.
    return {} if getattr(kind, "__origin__", None) is Mapping else NOT_SET


def _plain(value: Any) -> Any:
    """A default as YAML has it: lists and mappings only."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value
