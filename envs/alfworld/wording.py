"""The texts of a game: command lines and observations, read from the grammar in every game file.

Releases differ in their words ("move x to y", "put x in/on y"), not in their meaning.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

VERBS = (
    "GotoLocation",
    "OpenObject",
    "CloseObject",
    "PickupObject",
    "PutObject",
    "CleanObject",
    "HeatObject",
    "CoolObject",
    "ToggleObject",
    "SliceObject",
)
_TASK = re.compile(r'"task"\s*:\s*\[\s*\{\s*"rhs"\s*:\s*("(?:[^"\\]|\\.)*")')
_RULES = re.compile(r'grammar\s*::\s*"""(.*?)"""', re.DOTALL)
_ACTION = re.compile(r'action\s+(\w+)\s*\{\s*template\s*::\s*"([^"]*)"\s*;\s*feedback\s*::\s*"([^"]*)"')
_ONE_NAME = re.compile(r"\[\{(\w+)\.name \|[^]]*\]")
_LIST = re.compile(r"\[[^]]*\]")
_NAME = re.compile(r"\{(\w+)\.name\}")
_FLAG = re.compile(r"(\w+)\(o:object\)")
_SLOT = re.compile(r"\{(\w+)\}")
_SLOTS = {"a", "o", "r", "co", "ko", "lend", "seen", "things", "facing"}

_Rules = Mapping[str, Sequence[Mapping[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """All texts of a game, as format strings. Slots o, r, co, ko, lend: names; slot `things`: a list of names."""

    commands: Mapping[str, str]
    """Action of the domain -> its command line; also look, inventory and, if the game has it, help."""

    answers: Mapping[str, str]
    """Action of the domain -> its observation. The slot `seen` is what the receptacle shows."""

    surface: str
    """What a receptacle without a door shows."""

    opened: str
    """What an open receptacle shows."""

    closed: str
    """What a closed receptacle shows."""

    vessel: str
    """What an examined object shows if it can hold others."""

    condition: tuple[tuple[frozenset[str], str], ...]
    """(flags, text) for other examined objects. The first entry whose flags all hold is used."""

    around: str
    """`look` away from receptacles."""

    facing: str
    """`look` at receptacles."""

    carrying: str
    """`inventory` with an object in hand."""

    empty_handed: str
    """`inventory` with empty hands."""

    intro: str
    """The first observation, with symbols for the room and the task."""


def split_task(grammar: str) -> tuple[str, str]:
    """The task sentence, and the grammar without it, which thousands of games share. Raises ValueError without one."""
    task = _TASK.search(grammar)
    if task is None:
        raise ValueError("the grammar has no task sentence")
    return str(json.loads(task[1])), _TASK.sub('"task": [{"rhs": ""', grammar, count=1)


@lru_cache(maxsize=8)
def read_wording(grammar: str) -> Wording:
    """The texts of a grammar. Raises ValueError for a grammar of another structure."""
    try:
        rules: dict[str, Any] = {}
        for block in _RULES.findall(grammar):
            rules |= json.loads(block)
        return _wording(rules, {name: (line, symbol) for name, line, symbol in _ACTION.findall(grammar)})
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"the grammar is not built like ALFWorld's: {error!r}") from error


def _wording(rules: _Rules, actions: Mapping[str, tuple[str, str]]) -> Wording:
    opened, closed, surface = (_text(rule["rhs"]) for rule in rules["examineReceptacle.feedback"])
    vessel, *conditions = rules["examineObject.feedback"]
    facing, around = rules["look.feedback"]
    carrying, empty_handed = rules["inventory.feedback"]
    actions_needed = {"look", "inventory", "examineReceptacle", "examineObject", *VERBS}
    spoken = {name: _text(_ONE_NAME.sub(r"{\1}", actions[name][0])) for name in sorted(actions_needed)}
    answers = {name: _text(rules[actions[name][1].strip("#")][0]["rhs"]) for name in VERBS}
    if "help" in actions:
        spoken["help"], answer = _text(actions["help"][0]), actions["help"][1]
        # A symbol, or the text itself. The original drops a leading line break.
        answers["help"] = rules[answer.strip("#")][0]["rhs"] if answer.startswith("#") else answer
        answers["help"] = answers["help"].replace("\\n", "\n").lstrip()
    sides = _text(rules["look-variations"][0]["rhs"]).replace("{things}", "{facing}")
    return Wording(
        commands=spoken,
        answers=answers,
        surface=surface,
        opened=opened,
        closed=closed,
        vessel=_text(vessel["rhs"]),
        condition=tuple((_flags(rule), _text(rule["rhs"])) for rule in conditions),
        around=_text(around["rhs"]),
        facing=_text(facing["rhs"].replace("#look-variations#", sides)),
        carrying=_text(carrying["rhs"]),
        empty_handed=empty_handed["rhs"],
        intro=rules["intro"][0]["rhs"],
    )


def _text(rhs: str) -> str:
    """A right-hand side as a format string. Raises ValueError for an unknown symbol or slot."""
    text = _NAME.sub(r"{\1}", _LIST.sub("{things}", rhs)).replace("#examineReceptacle.feedback#", "{seen}")
    for symbol in ("#list_objects_on_the_floor#", "#list_appliances#"):
        text = text.replace(symbol, "{things}")
    slots = _SLOT.findall(text)
    if "#" in text or not set(slots) <= _SLOTS or not len(slots) == text.count("{") == text.count("}"):
        raise ValueError(rhs)
    return text


def _flags(rule: Mapping[str, str]) -> frozenset[str]:
    """The flags that a condition needs, lower case; empty for a rule without condition."""
    condition = rule.get("condition", "")
    flags = _FLAG.findall(condition)
    if " & ".join(f"{flag}(o:object)" for flag in flags) != condition:
        raise ValueError(condition)
    return frozenset(flags)
