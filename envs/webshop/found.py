"""Values of JSON files, checked one by one: what is wrong with one is told by file, place, value and remedy."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from envs.base import EnvError

OFFICIAL = "give WebShop's official file or repair it"
_MISSING = object()
_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A value and where it stands in a file, such as "product 3, name"; remedy: what to do about a wrong one.

    Everything that asks for a sort of value raises EnvError, in one line, for another.
    """

    path: Path
    place: str
    value: Any
    remedy: str = OFFICIAL

    def at(self, name: str, default: Any = _MISSING) -> "Found":
        """A member of an object. One that is not there is `default`, or else refused when it is asked for its value."""
        return self._inner(name, self.members().get(name, default))

    def members(self) -> dict[str, Any]:
        """An object."""
        value: Any = self.value
        if not isinstance(value, dict):
            raise self.refusal("an object")
        return cast("dict[str, Any]", value)

    def items(self) -> list["Found"]:
        """A list."""
        value: Any = self.value
        if not isinstance(value, list):
            raise self.refusal("a list")
        return [self._inner(str(number), item) for number, item in enumerate(cast("list[Any]", value))]

    def text(self) -> str:
        """A text."""
        if not isinstance(self.value, str):
            raise self.refusal("a text")
        return self.value

    def texts(self) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(item.text() for item in self.items())

    def refusal(self, wanted: str) -> EnvError:
        """What to raise where `wanted` should stand."""
        shown = "missing" if self.value is _MISSING else json.dumps(self.value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        return EnvError(f"{self.path}: {self.place or 'the whole'} is {shown}, not {wanted}; {self.remedy}")

    def _inner(self, name: str, value: Any) -> "Found":
        return Found(path=self.path, place=f"{self.place}, {name}".removeprefix(", "), value=value, remedy=self.remedy)


def read_object(path: Path, remedy: str = OFFICIAL) -> Found:
    """The object that a JSON file holds. Raises EnvError for a file that is missing or broken."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as missing:
        raise EnvError(f"{path}: cannot be read ({missing.strerror}); {remedy}") from missing
    except ValueError as broken:
        raise EnvError(f"{path}: not a JSON file ({broken}); {remedy}") from broken
    whole = Found(path=path, place="", value=value, remedy=remedy)
    whole.members()
    return whole
