"""One game: its things with their names, what never changes about them, the first state and the goal."""

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
# Facts that no text and no rule depends on.
_IDLE = {"wasinreceptacle", "checked", "examined", "full", "ison", "isreceptacleobjectfull", "moveable"}
_ABLE = ("pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable", "isreceptacleobject")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What changes. Things are numbers, in the order of their ids. Immutable, so that keeping one is free.

    here: the agent's location. held: the object in hand. contents: of each receptacle, ascending. lies: (object,
    location). taken: (object, receptacle) it was taken from and not put back into. flags: isclean, ishot, iscool,
    istoggled, issliced -> objects.
    """

    here: int
    held: int | None
    opened: Numbers
    contents: tuple[tuple[int, ...], ...]
    lies: Pairs
    taken: Pairs
    flags: Mapping[str, Numbers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """`count` objects of a type, treated, in one receptacle of type `place`; or one in hand at a lit `lamp`."""

    kind: str
    count: int = 1
    treatment: Treatment | None = None
    place: str | None = None
    lamp: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """A household and what is to be done in it; shared by any number of episodes and threads.

    objects, receptacles, locations: names by number. spot: location of a receptacle. at: receptacles of a location.
    object_kind, place_kind: types in lower case. able: pickupable, cleanable, ... -> objects. openable: receptacles.
    fits: (type of receptacle, type of object) that go together. inner: objects inside an object.
    """

    task: str
    objects: tuple[str, ...]
    receptacles: tuple[str, ...]
    locations: tuple[str, ...]
    spot: tuple[int, ...]
    at: Mapping[int, tuple[int, ...]]
    object_kind: tuple[str, ...]
    place_kind: tuple[str, ...]
    able: Mapping[str, Numbers]
    openable: Numbers
    fits: frozenset[tuple[str, str]]
    inner: Mapping[int, tuple[int, ...]]
    goal: Goal
    start: State
    wording: Wording


def load_record(path: Path) -> dict[str, Any]:
    """The JSON object of a game file. Raises EnvError for one that is missing or broken."""
    try:
        record: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EnvError(f"{path} cannot be read ({error}); fetch the data again: stepcredit data alfworld") from error
    fields = cast(dict[str, Any], record) if isinstance(record, dict) else {}
    if not all(isinstance(fields.get(key), str) for key in ("pddl_problem", "grammar")):
        raise EnvError(f"{path} is no game: it lacks pddl_problem or grammar; fetch the data again")
    return fields


def read_game(record: Mapping[str, Any], *, source: str) -> Game:
    """A game from the fields of its file, `source`. Raises EnvError for contents that are not ALFWorld's."""
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
    """The initial facts by predicate, each a list of its arguments."""
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
    found = {row[0] for predicate in (*_ABLE, "inreceptacle", "objectatlocation") for row in facts.get(predicate, ())}
    objects = sorted(kinds.keys() | found)
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
    """ "base k" for every id: of n ids with one base name the first in order is number n, the last number 1."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(ids):
        groups[name.partition("_bar_")[0] + ("basin" if "basin" in name else "")].append(name)
    return {name: f"{base} {len(group) - place}" for base, group in groups.items() for place, name in enumerate(group)}


def _goal(text: str) -> Goal:
    """The six task types by the predicates they use. Raises ValueError for another goal."""
    atoms = [(predicate, arguments.split()) for predicate, arguments in _GOAL_ATOM.findall(text)]
    used = [predicate for predicate, _ in atoms]
    kinds = [arguments[1] for predicate, arguments in atoms if predicate == "objecttype"]
    if used == [*_LAMP_GOAL, "objecttype", "holds"]:
        return Goal(kind=kinds[1], lamp=kinds[0])
    places = {arguments[1] for predicate, arguments in atoms if predicate == "receptacletype"}
    extra = frozenset(used) - {"objecttype", "receptacletype", "inreceptacle"}
    if len(set(kinds)) != 1 or len(places) != 1 or extra not in _TREATMENTS or used.count("inreceptacle") > 2:
        raise ValueError(f"goal {text!r}")
    return Goal(kind=kinds[0], count=used.count("inreceptacle"), treatment=_TREATMENTS[extra], place=places.pop())


def _table(rows: Iterable[Sequence[str]]) -> dict[str, str]:
    """First argument -> second. Raises ValueError where one has two."""
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
_KNOWN = {*_ABLE, *_FLAGS, *_RELATIONS, *_IDLE, "openable", "opened", "objecttype", "receptacletype", "cancontain"}
