"""A generated household: its task, its scene, where every object lies; and its text in PDDL."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from envs.alfworld.index import SPLITS, TASK_TYPES
from envs.alfworld.rooms import (
    ABILITIES,
    ABLE,
    LAMP,
    LAMP_PLACES,
    OPENABLE,
    PLACES,
    ROOMS,
    SEEN_SCENES,
    UNSEEN_SCENES,
    Spot,
    layout,
)
from envs.base import EnvError

FEWEST_RECEPTACLES, MOST_RECEPTACLES = 6, 60
FEWEST_OBJECTS, MOST_OBJECTS = 3, 120
_TREATMENT = {
    "pick_clean_then_place_in_recep": ("c", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("h", "Microwave"),
    "pick_cool_then_place_in_recep": ("k", "Fridge"),
}
_SENTENCES = {
    "pick_and_place_simple": ("put a {o} in {r}.", "put some {o} on {r}."),
    "look_at_obj_in_light": ("look at {o} under the {r}.", "examine the {o} with the {r}."),
    "pick_clean_then_place_in_recep": ("put a clean {o} in {r}.", "clean some {o} and put it in {r}."),
    "pick_heat_then_place_in_recep": ("put a hot {o} in {r}.", "heat some {o} and put it in {r}."),
    "pick_cool_then_place_in_recep": ("put a cool {o} in {r}.", "cool some {o} and put it in {r}."),
    "pick_two_obj_and_place": ("put two {o} in {r}.", "find two {o} and put them in {r}."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Households:
    """Which games to generate. Raises EnvError for numbers out of range and for unknown task types."""

    seed: int = 0
    """Another seed gives other games; 0 to 2,147,483,647."""

    train: int = 1000
    """Games of `train`, 1 to 1,000,000."""

    held_out: int = 120
    """Games of `valid_seen` (scenes of `train`) and of `valid_unseen` (other scenes), each; 1 to 1,000,000."""

    receptacles: int = 8
    """Receptacles in a household, 6 to 60. More are harder."""

    objects: int = 12
    """Objects in a household, 3 to 120. More are harder."""

    task_types: tuple[str, ...] = TASK_TYPES
    """The task types, used in turn."""

    def __post_init__(self) -> None:
        for name, lowest, highest in (
            ("seed", 0, 2**31 - 1),
            ("train", 1, 10**6),
            ("held_out", 1, 10**6),
            ("receptacles", FEWEST_RECEPTACLES, MOST_RECEPTACLES),
            ("objects", FEWEST_OBJECTS, MOST_OBJECTS),
        ):
            value: object = getattr(self, name)
            if not isinstance(value, int) or not lowest <= value <= highest:
                raise EnvError(f"alfworld cannot make households with {name}={value}; give {lowest} to {highest}")
        unknown = set(self.task_types) - set(TASK_TYPES)
        if unknown or not self.task_types:
            raise EnvError(f"alfworld has no task type {sorted(unknown)}; choose some of {', '.join(TASK_TYPES)}")

    def count(self, split: str) -> int:
        return self.train if split == "train" else self.held_out if split in SPLITS else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """The task of a game, and its scene."""

    split: str
    """The split of the game."""

    number: int
    """The number of the game in its split, from 0."""

    task_type: str
    """One of TASK_TYPES."""

    room: str
    """The kind of room, such as "kitchen"."""

    scene: int
    """The scene's number, as in the official games."""

    thing: str
    """The kind of object to bring, or to hold."""

    target: str
    """The kind of receptacle to bring it to, or the lamp to hold it at."""

    def task_id(self, seed: int) -> str:
        """The id in the official form: split/type-object-None-target-scene/trial."""
        folder = f"{self.task_type}-{self.thing}-None-{self.target}-{self.scene}"
        return f"{self.split}/{folder}/trial_S{seed}_{self.number:06d}"


def errand(spec: Households, split: str, number: int) -> Errand:
    """The task of game `number` of a split. Raises EnvError if no room has what the task type needs."""
    rng = random.Random(f"alfworld errand {spec.seed} {split} {number}")
    task_type = spec.task_types[number % len(spec.task_types)]
    numbers = UNSEEN_SCENES if split == "valid_unseen" else SEEN_SCENES
    places = [(room, ROOMS[room].base + scene) for room in ROOMS for scene in numbers]
    rng.shuffle(places)
    for room, scene in places:
        chances = _chances(task_type, room, {spot.kind for spot in layout(room, scene, spec.receptacles, spec.seed)})
        if chances:
            thing = rng.choice(sorted(chances))
            return Errand(
                split=split,
                number=number,
                task_type=task_type,
                room=room,
                scene=scene,
                thing=thing,
                target=rng.choice(chances[thing]),
            )
    raise EnvError(f"no room of {spec.receptacles} receptacles has what {task_type} needs; give more receptacles")


def _chances(task_type: str, room: str, kinds: set[str]) -> dict[str, list[str]]:
    """Kinds of objects for a task in this room, each with its targets. Each must also fit somewhere else, to start."""
    things = [thing for thing in ROOMS[room].things if PLACES[thing] & kinds]
    if task_type == "look_at_obj_in_light":
        return {thing: [LAMP] for thing in things} if ROOMS[room].lamp and LAMP_PLACES & kinds else {}
    if task_type in _TREATMENT:
        letter, station = _TREATMENT[task_type]
        things = [thing for thing in things if letter in ABILITIES[thing] and station in kinds]
    targets = {thing: sorted(PLACES[thing] & kinds) for thing in things}
    return {thing: fitting for thing, fitting in targets.items() if len(fitting) > 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An object in its receptacle."""

    name: str
    """The object's id in PDDL."""

    kind: str
    """Its kind, such as "Mug"."""

    spot: int
    """The number of its receptacle in the scene's layout."""


def furnish(spec: Households, task: Errand, attempt: int) -> list[Placed]:
    """Place the objects: first those that the task needs, then others of the room, `spec.objects` in all.

    No object of the task's kind starts in a target.
    """
    rng = random.Random(f"alfworld things {spec.seed} {task.split} {task.number} {attempt}")
    spots = layout(task.room, task.scene, spec.receptacles, spec.seed)
    needed = [task.thing] * (2 if task.task_type == "pick_two_obj_and_place" else 1)
    needed += [LAMP] if task.target == LAMP else []
    fitting = {kind: _fitting(kind, task, spots) for kind in (*ROOMS[task.room].things, LAMP)}
    usual = [kind for kind in ROOMS[task.room].things if fitting[kind]]
    kinds = needed + rng.choices(usual, k=spec.objects - len(needed))
    placed: list[Placed] = []
    for number, kind in enumerate(kinds):
        spot = rng.choice(fitting[kind])
        x, y, _ = spots[spot].position
        # The number is part of the position, so that no two objects get the same name.
        near = (x + rng.uniform(-0.3, 0.3), y + 0.05, number / 100 - 0.6)
        placed.append(Placed(name=f"{kind}{_position(near)}", kind=kind, spot=spot))
    return placed


def _fitting(kind: str, task: Errand, spots: Sequence[Spot]) -> list[int]:
    banned = task.target if kind == task.thing else None
    return [number for number, spot in enumerate(spots) if spot.kind in PLACES[kind] and spot.kind != banned]


def sentence(spec: Households, task: Errand) -> str:
    """The task in words."""
    rng = random.Random(f"alfworld words {spec.seed} {task.split} {task.number}")
    words = rng.choice(_SENTENCES[task.task_type]).format(o=task.thing.lower(), r=task.target.lower())
    return f"Your task is to: {words}"


def problem(spec: Households, task: Errand, things: Sequence[Placed]) -> str:
    """The household as a PDDL problem of the domain in household.pddl."""
    spots = layout(task.room, task.scene, spec.receptacles, spec.seed)
    names = [_spot_name(spot) for spot in spots]
    locations = [f"loc_bar_{spot.location}_bar_0_bar_0_bar_30" for spot in spots]
    start = f"loc_bar_{len(spots)}_bar_0_bar_0_bar_30"
    place_kinds = sorted({spot.kind for spot in spots} | {"SinkBasin", "Microwave", "Fridge"})
    thing_kinds = sorted({thing.kind for thing in things} | {"Knife", "ButterKnife"})
    objects = [
        "agent1 - agent",
        *(f"{name} - location" for name in sorted({*locations, start})),
        *(f"{kind}Type - rtype" for kind in place_kinds),
        *(f"{kind}Type - otype" for kind in thing_kinds),
        *(f"{name} - receptacle" for name in names),
        *(f"{thing.name} - object" for thing in things),
    ]
    facts = [f"atLocation agent1 {start}"]
    for place, fitting in ((place, _held_by(place, thing_kinds)) for place in place_kinds):
        facts += [f"canContain {place}Type {kind}Type" for kind in fitting]
    for name, spot, location in zip(names, spots, locations, strict=True):
        facts += [f"receptacleType {name} {spot.kind}Type", f"receptacleAtLocation {name} {location}"]
        facts += [f"openable {name}"] if spot.kind in OPENABLE else []
    for thing in things:
        facts += [f"objectType {thing.name} {thing.kind}Type", f"objectAtLocation {thing.name} {locations[thing.spot]}"]
        facts += [f"inReceptacle {thing.name} {names[thing.spot]}", *_abilities(thing)]
    declared = "\n    ".join(objects)
    initial = "\n    ".join(f"({fact})" for fact in facts)
    return (
        f"(define (problem household_{spec.seed}_{task.split}_{task.number})\n  (:domain alfred)\n"
        f"  (:objects\n    {declared})\n  (:init\n    {initial})\n  (:goal {_goal(task)}))\n"
    )


def _held_by(place: str, kinds: Sequence[str]) -> list[str]:
    return [kind for kind in kinds if kind != LAMP and place in PLACES[kind]]


def _abilities(thing: Placed) -> Iterator[str]:
    if thing.kind == LAMP:
        yield f"toggleable {thing.name}"
        return
    yield f"pickupable {thing.name}"
    for letter in ABILITIES[thing.kind]:
        yield f"{ABLE[letter]} {thing.name}"


def _goal(task: Errand) -> str:
    """The goal in the original's formulas, which both engines can read."""
    thing, target = f"{task.thing}Type", f"{task.target}Type"
    if task.target == LAMP:
        return (
            "(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) "
            f"(and (objectType ?ot {target}) (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) "
            "(atLocation ?a ?l) (inReceptacle ?ot ?r))) "
            f"(exists (?o - object ?a - agent) (and (objectType ?o {thing}) (holds ?a ?o))))"
        )
    if task.task_type == "pick_two_obj_and_place":
        lies = "(objectType {o} " + thing + ") (receptacleType ?r " + target + ") (inReceptacle {o} ?r)"
        return (
            f"(exists (?r - receptacle) (exists (?o1 - object) (and {lies.format(o='?o1')} "
            f"(exists (?o2 - object) (and (not (= ?o1 ?o2)) {lies.format(o='?o2')})))))"
        )
    letter = _TREATMENT[task.task_type][0] if task.task_type in _TREATMENT else ""
    treated = f"({ABLE[letter]} ?o) (is{_STATE[letter]} ?o) " if letter else ""
    return (
        f"(exists (?r - receptacle) (exists (?o - object) (and {treated}"
        f"(objectType ?o {thing}) (receptacleType ?r {target}) (inReceptacle ?o ?r))))"
    )


_STATE = {"c": "Clean", "h": "Hot", "k": "Cool"}


def _spot_name(spot: Spot) -> str:
    """The receptacle's id in the official form: a basin has the name of what it belongs to."""
    base, basin, _ = spot.kind.partition("Basin")
    return f"{base}{_position(spot.position)}" + (f"_bar_{spot.kind}" if basin else "")


def _position(position: tuple[float, float, float]) -> str:
    return "".join(f"_bar_{'_minus_' if value < 0 else '_plus_'}{abs(value):05.2f}" for value in position).replace(
        ".", "_dot_"
    )
