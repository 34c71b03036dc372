"""One way to refuse a number that nothing could run with; light to import, for every frozen config."""

from collections.abc import Iterable
from typing import Any

Check = tuple[str, bool, str]  # a field's name, whether its value can be used, which values can


def refuse_outside(config: Any, group: str, checks: Iterable[Check]) -> None:
    """Raise ValueError for the first check that failed: `group.name=value is out of range: choose remedy`."""
    for name, usable, remedy in checks:
        if not usable:
            key = f"{group}.{name}" if group else name
            raise ValueError(f"{key}={getattr(config, name)} is out of range: choose {remedy}")
