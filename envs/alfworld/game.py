"""One game: its objects and receptacles, their fixed properties, the first state and the goal."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from envs.alfworld.wording import Wording, read_wording, split_task
from envs.base import EnvError

Pairs = frozenset[tuple[int, int]]
Numbers = frozenset[int]
Treatment = Literal["isclean", "ishot", "iscool"]

_FACT = re.compile(r"\((\w+)((?:\s+\w+)*)\s*\)")
_GOAL_ATOM = re.compile(r"\((\w+)((?:\s+[?\w]+)+)\s*\)")
_TREATMENTS: dict[frozenset[str], Treatment | None] = {
    frozenset(): None,
    frozenset({"cleanable", "isclean"}): "isclean",
    frozenset({"heatable", "ishot"}): "ishot",
    frozenset({"coolable", "iscool"}): "iscool",
}
_LAMP_GOAL = ["objecttype", "toggleable", "istoggled", "receptacleatlocation", "atlocation", "inreceptacle"]
# Predicates that no text and no rule depends on.
_UNUSED = {"wasinreceptacle", "checked", "examined", "full", "ison", "isreceptacleobjectfull", "moveable"}
_ABLE = ("pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable", "isreceptacleobject")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What changes during a game; immutable. Things and places are numbers, in the order of their ids."""

    here: int
    """The agent's location."""

    held: int | None
    """The object in hand; None for none."""

    opened: Numbers
    """The receptacles that are open."""

    contents: tuple[tuple[int, ...], ...]
    """The objects in each receptacle, ascending."""

    lies: Pairs
    """(object, location) of every object that is not in hand."""

    taken: Pairs
    """(object, receptacle) for each object that was taken from a receptacle and not put back into it."""

    flags: Mapping[str, Numbers]
    """isclean, ishot, iscool, istoggled, issliced -> the objects that are so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What must hold: objects of a type, treated, in one receptacle; or one in hand at a lit lamp."""

    kind: str
    """The type of the objects."""

    count: int = 1
    """How many are needed."""

    treatment: Treatment | None = None
    """The flag that they need; None for none."""

    place: str | None = None
    """The type of the receptacle; None for a goal with a lamp."""

    lamp: str | None = None
    """The type of the lamp; None for a goal with a receptacle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """A household and its task. Immutable; any number of episodes and threads share it."""

    task: str
    """The task sentence."""

    objects: tuple[str, ...]
    """Object names by number, such as "mug 1"."""

    receptacles: tuple[str, ...]
    """Receptacle names by number, such as "desk 1"."""

    locations: tuple[str, ...]
    """Location names by number."""

    spot: tuple[int, ...]
    """The location of each receptacle."""

    at: Mapping[int, tuple[int, ...]]
    """Location -> its receptacles."""

    object_kind: tuple[str, ...]
    """The type of each object, lower case."""

    place_kind: tuple[str, ...]
    """The type of each receptacle, lower case."""

    able: Mapping[str, Numbers]
    """pickupable, cleanable, ... -> the objects that are so."""

    openable: Numbers
    """The receptacles that can be opened."""

    fits: frozenset[tuple[str, str]]
    """(type of receptacle, type of object) for each pair where the receptacle takes the object."""

    inner: Mapping[int, tuple[int, ...]]
    """Object -> the objects inside it."""

    goal: Goal
    """What must hold at the end."""

    start: State
    """The first state."""

    wording: Wording
    """The texts of the game."""


def load_record(path: Path) -> dict[str, Any]:
    """The JSON object of a game file. Raises EnvError for a missing or broken file."""
    try:
        record: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EnvError(f"{path} cannot be read ({error}); fetch the data again: stepcredit data alfworld") from error
    fields = cast(dict[str, Any], record) if isinstance(record, dict) else {}
    if not all(isinstance(fields.get(key), str) for key in ("pddl_problem", "grammar")):
        raise EnvError(f"{path} is no game: it lacks pddl_problem or grammar; fetch the data again")
    return fields


def read_game(record: Mapping[str, Any], *, source: str) -> Game:
    """Build a game from the fields of its file, which `source` names in errors. Raises EnvError for a broken file."""
    problem: str = record["pddl_problem"].lower()
    init, goal = problem.find("(:init"), problem.find("(:goal")
    try:
        if not -1 < init < goal:
            raise ValueError("the problem has no (:init ...) before its (:goal ...)")
        task, grammar = split_task(record["grammar"])
        facts = _facts(problem[init:goal])
        return _build(facts, task=task, goal=_goal(problem[goal:]), wording=read_wording(grammar))
    except (KeyError, IndexError, ValueError) as error:
        raise EnvError(
            f"{source} is not built like ALFWorld's games ({error!r}); fetch the data again: stepcredit data alfworld"
        ) from error


def _facts(text: str) -> dict[str, list[list[str]]]:
    """The initial facts: predicate -> the arguments of each fact."""
    facts: defaultdict[str, list[list[str]]] = defaultdict(list)
    for predicate, arguments in _FACT.findall(text):
        facts[predicate].append(arguments.split())
    return facts


def _build(facts: Mapping[str, Sequence[list[str]]], *, task: str, goal: Goal, wording: Wording) -> Game:
    unknown = facts.keys() - _KNOWN
    if unknown:
        raise ValueError(f"predicates {sorted(unknown)}")
    kinds = _table(facts["objecttype"])
    places = _table(facts["receptacletype"])
    spots = _table(facts["receptacleatlocation"])
    names = _names({name for rows in facts.values() for row in rows for name in row})
    mentioned = {
        row[0] for predicate in (*_ABLE, "inreceptacle", "objectatlocation") for row in facts.get(predicate, ())
    }
    objects = sorted(kinds.keys() | mentioned)
    receptacles = sorted(spots)
    (agent_at,) = facts["atlocation"]
    locations = sorted({*spots.values(), agent_at[1], *(row[1] for row in facts.get("objectatlocation", ()))})
    o, r, loc = ({name: number for number, name in enumerate(group)} for group in (objects, receptacles, locations))
    return Game(
        task=task,
        objects=tuple(names[name] for name in objects),
        receptacles=tuple(names[name] for name in receptacles),
        locations=tuple(names[name] for name in locations),
        spot=tuple(loc[spots[name]] for name in receptacles),
        at=_grouped((loc[spots[name]], r[name]) for name in receptacles),
        object_kind=tuple(kinds.get(name, "") for name in objects),
        place_kind=tuple(places.get(name, "") for name in receptacles),
        able={able: frozenset(o[row[0]] for row in facts.get(able, ())) for able in _ABLE},
        openable=frozenset(r[row[0]] for row in facts.get("openable", ())),
        fits=frozenset((place, kind) for place, kind in facts.get("cancontain", ())),
        inner=_grouped((o[outer], o[inside]) for inside, outer in facts.get("inreceptacleobject", ())),
        goal=goal,
        start=_start(facts, o, r, loc, here=loc[agent_at[1]]),
        wording=wording,
    )


def _start(
    facts: Mapping[str, Sequence[list[str]]],
    o: Mapping[str, int],
    r: Mapping[str, int],
    loc: Mapping[str, int],
    here: int,
) -> State:
    inside = _grouped((r[place], o[thing]) for thing, place in facts.get("inreceptacle", ()))
    return State(
        here=here,
        held=None,
        opened=frozenset(r[row[0]] for row in facts.get("opened", ())),
        contents=tuple(inside.get(place, ()) for place in range(len(r))),
        lies=frozenset((o[thing], loc[place]) for thing, place in facts.get("objectatlocation", ())),
        taken=frozenset(),
        flags={flag: frozenset(o[row[0]] for row in facts.get(flag, ())) for flag in _FLAGS},
    )


def _names(ids: Iterable[str]) -> dict[str, str]:
    """ "base k" for every id. Of n ids with the same base, the first in sorted order gets n and the last gets 1."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(ids):
        groups[name.partition("_bar_")[0] + ("basin" if "basin" in name else "")].append(name)
    return {name: f"{base} {len(group) - place}" for base, group in groups.items() for place, name in enumerate(group)}


def _goal(text: str) -> Goal:
    """The goal, recognised by the predicates it uses. Raises ValueError if it is none of the six task types."""
    atoms = [(predicate, arguments.split()) for predicate, arguments in _GOAL_ATOM.findall(text)]
    predicates = [predicate for predicate, _ in atoms]
    kinds = [arguments[1] for predicate, arguments in atoms if predicate == "objecttype"]
    if predicates == [*_LAMP_GOAL, "objecttype", "holds"]:
        return Goal(kind=kinds[1], lamp=kinds[0])
    places = {arguments[1] for predicate, arguments in atoms if predicate == "receptacletype"}
    extra = frozenset(predicates) - {"objecttype", "receptacletype", "inreceptacle"}
    if len(set(kinds)) != 1 or len(places) != 1 or extra not in _TREATMENTS or predicates.count("inreceptacle") > 2:
        raise ValueError(f"goal {text!r}")
    return Goal(kind=kinds[0], count=predicates.count("inreceptacle"), treatment=_TREATMENTS[extra], place=places.pop())


def _table(rows: Iterable[Sequence[str]]) -> dict[str, str]:
    """First argument -> second. Raises ValueError if a first argument has two."""
    table: dict[str, str] = {}
    for key, value in rows:
        if table.setdefault(key, value) != value:
            raise ValueError(f"{key} is both {table[key]} and {value}")
    return table


def _grouped(pairs: Iterable[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for key, value in sorted(set(pairs)):
        groups[key].append(value)
    return {key: tuple(values) for key, values in groups.items()}


_FLAGS = ("isclean", "ishot", "iscool", "istoggled", "issliced")
_RELATIONS = ("atlocation", "receptacleatlocation", "objectatlocation", "inreceptacle", "inreceptacleobject")
_KNOWN = {*_ABLE, *_FLAGS, *_RELATIONS, *_UNUSED, "openable", "opened", "objecttype", "receptacletype", "cancontain"}
