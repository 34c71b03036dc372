"""The rules: which commands are admissible in a state, and what each one does and says. Pure functions."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from envs.alfworld.game import Game, Numbers, State

NOTHING_HAPPENS = "Nothing happens."
ABLE = {"isclean": "cleanable", "ishot": "heatable", "iscool": "coolable"}  # flag -> what an object must be to get it
_TREATING = {"CleanObject": "cleanable", "HeatObject": "heatable", "CoolObject": "coolable"}
_TREATED_BY = {
    "sinkbasintype": "CleanObject",
    "sinktype": "CleanObject",
    "microwavetype": "HeatObject",
    "fridgetype": "CoolObject",
}
_KNIVES = {"knifetype", "butterknifetype"}


class Act(NamedTuple):
    """A parsed command: an action of the domain with its arguments, by number; -1 where it has none."""

    verb: str
    """The action of the domain, such as "PickupObject"; or look, inventory, help, examineObject, examineReceptacle."""

    thing: int = -1
    """The object."""

    place: int = -1
    """The receptacle."""

    other: int = -1
    """A second object: the knife."""


def opening(game: Game) -> str:
    """The first observation: a welcome, the whole room (at a receptacle, only what `look` shows) and the task."""
    here = game.at.get(game.start.here)
    room = _look(game, game.start) if here else game.wording.around.format(things=_listed(game.receptacles))
    return game.wording.intro.replace("#look.feedback#", room).replace("#task#", game.task)


def commands(game: Game, state: State) -> dict[str, Act]:
    """The admissible commands, sorted. The reply to any other line is "Nothing happens."."""
    acts = {line(game, act): act for act in _admissible_acts(game, state)}
    return {text: acts[text] for text in sorted(acts)}


def line(game: Game, act: Act) -> str:
    """The command line of an act, in the words of the game."""
    thing = game.objects[act.thing] if act.thing >= 0 else ""
    return game.wording.commands[act.verb].format(
        o=thing,
        co=thing,
        r=game.receptacles[act.place] if act.place >= 0 else "",
        ko=game.objects[act.other] if act.other >= 0 else "",
    )


def perform(game: Game, state: State, act: Act) -> tuple[State, str]:
    """The state after an admissible command, and the observation."""
    match act.verb:
        case "look":
            return state, _look(game, state)
        case "inventory":
            return state, _inventory(game, state)
        case "help":
            return state, game.wording.answers["help"]
        case "examineReceptacle":
            return state, _contents(game, state, act.place)
        case "examineObject":
            return state, _examined(game, state, act.thing)
        case _:
            return _acted(game, state, act)


def _acted(game: Game, state: State, act: Act) -> tuple[State, str]:
    """An act that changes the state, and its observation."""
    after = _effect(game, state, act)
    text = game.wording.answers[act.verb].format(
        o=game.objects[act.thing],
        co=game.objects[act.thing],
        ko=game.objects[act.other],
        r=game.receptacles[act.place],
        lend=game.locations[after.here],
        seen=_contents(game, after, act.place),
    )
    return after, text


def is_won(game: Game, state: State) -> bool:
    """Whether the goal holds."""
    goal = game.goal
    if goal.lamp is not None:
        lit = state.flags["istoggled"] & game.able["toggleable"]
        lamps = {thing for thing in lit if game.object_kind[thing] == goal.lamp}
        holding = state.held is not None and game.object_kind[state.held] == goal.kind
        return holding and any(not lamps.isdisjoint(state.contents[place]) for place in game.at.get(state.here, ()))
    fitting = {thing for thing, kind in enumerate(game.object_kind) if kind == goal.kind}
    if goal.treatment is not None:
        fitting &= state.flags[goal.treatment] & game.able[ABLE[goal.treatment]]
    return any(
        len(fitting.intersection(things)) >= goal.count
        for kind, things in zip(game.place_kind, state.contents, strict=True)
        if kind == goal.place
    )


def _admissible_acts(game: Game, state: State) -> Iterator[Act]:
    yield Act("look")
    yield Act("inventory")
    if "help" in game.wording.commands:
        yield Act("help")
    for place, spot in enumerate(game.spot):
        if spot != state.here:
            yield Act("GotoLocation", place=place)
    for place in game.at.get(state.here, ()):
        yield from _at_receptacle(game, state, place)
    if state.held is not None:
        yield Act("examineObject", thing=state.held)
        if game.object_kind[state.held] in _KNIVES:
            for thing in game.able["sliceable"]:
                if (thing, state.here) in state.lies:
                    yield Act("SliceObject", thing=thing, other=state.held)


def _at_receptacle(game: Game, state: State, place: int) -> Iterator[Act]:
    """The acts on one receptacle here, and on the objects in it."""
    yield Act("examineReceptacle", place=place)
    if place in game.openable:
        yield Act("CloseObject" if place in state.opened else "OpenObject", place=place)
    accessible = place not in game.openable or place in state.opened
    kind = game.place_kind[place]
    for thing in state.contents[place]:
        if thing in game.able["toggleable"]:
            yield Act("ToggleObject", thing=thing)
        if accessible and state.held is None and thing in game.able["pickupable"]:
            yield Act("PickupObject", thing=thing, place=place)
    if state.held is None:
        return
    if accessible and (kind, game.object_kind[state.held]) in game.fits:
        yield Act("PutObject", thing=state.held, place=place)
    treating = _TREATED_BY.get(kind)
    if treating is not None and state.held in game.able[_TREATING[treating]]:
        yield Act(treating, thing=state.held, place=place)


def _effect(game: Game, state: State, act: Act) -> State:
    """The state after an act that changes it."""
    match act.verb:
        case "GotoLocation":
            return replace(state, here=game.spot[act.place])
        case "OpenObject":
            return replace(state, opened=state.opened | {act.place})
        case "CloseObject":
            return replace(state, opened=state.opened - {act.place})
        case "PickupObject":
            return _moved(state, act, held=act.thing)
        case "PutObject":
            return _moved(state, act, held=None)
        case "CleanObject":
            return _flagged(state, act.thing, on="isclean")
        case "HeatObject":
            return _flagged(state, act.thing, on="ishot", off="iscool")
        case "CoolObject":
            return _flagged(state, act.thing, on="iscool", off="ishot")
        case "ToggleObject":
            return _flagged(state, act.thing, on="istoggled")
        case "SliceObject":
            return _flagged(state, act.thing, on="issliced")
        case _:
            raise AssertionError(f"{act} is no action")  # cannot be: `_admissible_acts` yields no other


def _moved(state: State, act: Act, held: int | None) -> State:
    """The state after an object is taken from a receptacle here, or put into one.

    A taken object stays marked as taken from there until it is put back into the same receptacle. The original keeps
    a negated fact, and its `look` lists that object.
    """
    inside, lies, pair = set(state.contents[act.place]), (act.thing, state.here), (act.thing, act.place)
    inside ^= {act.thing} & inside if held is not None else {act.thing} - inside
    return replace(
        state,
        held=held,
        contents=(*state.contents[: act.place], tuple(sorted(inside)), *state.contents[act.place + 1 :]),
        lies=state.lies - {lies} if held is not None else state.lies | {lies},
        taken=state.taken | {pair} if held is not None else state.taken - {pair},
    )


def _flagged(state: State, thing: int, *, on: str, off: str | None = None) -> State:
    flags: dict[str, Numbers] = {**state.flags, on: state.flags[on] | {thing}}
    if off is not None:
        flags[off] = flags[off] - {thing}
    return replace(state, flags=flags)


def _look(game: Game, state: State) -> str:
    """What `look` says. Away from receptacles it lists nothing, not even the room's receptacles, as in the original."""
    here = game.at.get(state.here, ())
    if not here:
        return game.wording.around.format(things=_listed(()))
    besides = [game.objects[thing] for thing, place in sorted(state.taken) if place in here and
               (thing, state.here) in state.lies]  # fmt: skip
    facing = _joined(game.receptacles[place] for place in here)
    return game.wording.facing.format(facing=facing, things=_listed(besides))


def _inventory(game: Game, state: State) -> str:
    if state.held is None:
        return game.wording.empty_handed
    return game.wording.carrying.format(things=_listed([game.objects[state.held]]))


def _contents(game: Game, state: State, place: int) -> str:
    """What a receptacle shows; an empty text for an act without one."""
    if place < 0:
        return ""
    name = game.receptacles[place]
    if place in game.openable and place not in state.opened:
        return game.wording.closed.format(r=name)
    text = game.wording.opened if place in game.openable else game.wording.surface
    return text.format(r=name, things=_listed(game.objects[thing] for thing in state.contents[place]))


def _examined(game: Game, state: State, thing: int) -> str:
    name = game.objects[thing]
    if thing in game.able["isreceptacleobject"]:
        return game.wording.vessel.format(o=name, things=_listed(game.objects[o] for o in game.inner.get(thing, ())))
    facts: Mapping[str, Numbers] = {**game.able, **state.flags}
    for flags, text in game.wording.condition:
        # The original's facts never hold a negated flag (not_istoggled), so a text that needs one is never used.
        if all(thing in facts.get(flag, ()) for flag in flags):
            return text.format(o=name)
    raise AssertionError(f"no text for {name}")  # cannot be: the last text of the grammar has no condition


def _listed(names: Iterable[str]) -> str:
    return _joined(f"a {name}" for name in names) or "nothing"


def _joined(names: Iterable[str]) -> str:
    """ "x", "x, and y", "x, y, and z"."""
    *most, last = (*names,) or ("",)
    return f"{', '.join(most)}, and {last}" if most else last
