"""What a game says: command lines and answers, read from the grammar that every game file carries.

Releases differ in their words ("move x to y", "put x in/on y"), not in what the words stand for.
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
    """All texts of a game as format strings; slots o, r, co, ko and lend are names, `things` is a list of names.

    commands, answers: by action of the domain; "help" and "look" among the commands, "help" where the game has it.
    surface, opened, closed: what a receptacle shows; `seen` in an answer is one of them.
    condition: (flags that must hold, text) of an examined object, the first that fits counts; vessel: of one that
    holds others. around: `look` in the open; facing: at receptacles.
    """

    commands: Mapping[str, str]
    answers: Mapping[str, str]
    surface: str
    opened: str
    closed: str
    vessel: str
    condition: tuple[tuple[frozenset[str], str], ...]
    around: str
    facing: str
    carrying: str
    empty_handed: str
    intro: str


def split_task(grammar: str) -> tuple[str, str]:
    """The task sentence and the grammar without it, which thousands of games share. Raises ValueError without one."""
    found = _TASK.search(grammar)
    if found is None:
        raise ValueError("the grammar has no task sentence")
    return str(json.loads(found[1])), _TASK.sub('"task": [{"rhs": ""', grammar, count=1)


@lru_cache(maxsize=8)
def read_wording(grammar: str) -> Wording:
    """The texts of a grammar. Raises ValueError for one of another build."""
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
    wanted = {"look", "inventory", "examineReceptacle", "examineObject", *VERBS}
    spoken = {name: _text(_ONE_NAME.sub(r"{\1}", actions[name][0])) for name in sorted(wanted)}
    answers = {name: _text(rules[actions[name][1].strip("#")][0]["rhs"]) for name in VERBS}
    if "help" in actions:
        spoken["help"], answer = _text(actions["help"][0]), actions["help"][1]
        # A symbol, or the text itself; the original loses a leading line break.
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
    """A right-hand side as a format string. Raises ValueError for a symbol or a slot that is not known."""
    text = _NAME.sub(r"{\1}", _LIST.sub("{things}", rhs)).replace("#examineReceptacle.feedback#", "{seen}")
    for symbol in ("#list_objects_on_the_floor#", "#list_appliances#"):
        text = text.replace(symbol, "{things}")
    slots = _SLOT.findall(text)
    if "#" in text or not set(slots) <= _SLOTS or not len(slots) == text.count("{") == text.count("}"):
        raise ValueError(rhs)
    return text


def _flags(rule: Mapping[str, str]) -> frozenset[str]:
    """The flags a condition asks for, in lower case; none for a rule without condition."""
    condition = rule.get("condition", "")
    flags = _FLAG.findall(condition)
    if " & ".join(f"{flag}(o:object)" for flag in flags) != condition:
        raise ValueError(condition)
    return frozenset(flags)
