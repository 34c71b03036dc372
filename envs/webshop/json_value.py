"""Values of JSON files, checked when they are read. An error names the file, the place, the value and the remedy."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from envs.base import EnvError

OFFICIAL = "give WebShop's official file or repair it"
_MISSING = object()
_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonValue:
    """A value of a JSON file. Each method that reads it raises EnvError if it is of another type."""

    path: Path
    """The file."""

    place: str
    """Where in the file, such as "product 3, name"; empty for the whole file."""

    value: Any
    """The value itself, as `json.loads` gives it."""

    remedy: str = OFFICIAL
    """What an error tells the user to do."""

    def at(self, name: str, default: Any = _MISSING) -> "JsonValue":
        """A member of an object. If it is missing: `default`, or without one an error when its value is read."""
        return self._inner(name, self.members().get(name, default))

    def members(self) -> dict[str, Any]:
        """The members of an object."""
        value: Any = self.value
        if not isinstance(value, dict):
            raise self.refusal("an object")
        return cast("dict[str, Any]", value)

    def items(self) -> list["JsonValue"]:
        """The items of a list."""
        value: Any = self.value
        if not isinstance(value, list):
            raise self.refusal("a list")
        return [self._inner(str(number), item) for number, item in enumerate(cast("list[Any]", value))]

    def text(self) -> str:
        """The text."""
        if not isinstance(self.value, str):
            raise self.refusal("a text")
        return self.value

    def texts(self) -> tuple[str, ...]:
        """The texts of a list of texts."""
        return tuple(item.text() for item in self.items())

    def refusal(self, expected: str) -> EnvError:
        """The error to raise if the value is not what the file should hold there."""
        shown = "missing" if self.value is _MISSING else json.dumps(self.value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        return EnvError(f"{self.path}: {self.place or 'the whole'} is {shown}, not {expected}; {self.remedy}")

    def _inner(self, name: str, value: Any) -> "JsonValue":
        return JsonValue(
            path=self.path, place=f"{self.place}, {name}".removeprefix(", "), value=value, remedy=self.remedy
        )


def read_object(path: Path, remedy: str = OFFICIAL) -> JsonValue:
    """The object in a JSON file. Raises EnvError for a missing or broken file."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as missing:
        raise EnvError(f"{path}: cannot be read ({missing.strerror}); {remedy}") from missing
    except ValueError as broken:
        raise EnvError(f"{path}: not a JSON file ({broken}); {remedy}") from broken
    whole = JsonValue(path=path, place="", value=value, remedy=remedy)
    whole.members()
    return whole
