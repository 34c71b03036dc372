"""The rules: which commands are open in a state, and what each does and says. Pure; nothing is kept between calls."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from envs.alfworld.game import Game, Numbers, State

NOTHING_HAPPENS = "Nothing happens."
ABLE = {"isclean": "cleanable", "ishot": "heatable", "iscool": "coolable"}  # what a treated object must be
_TREATING = {"CleanObject": "cleanable", "HeatObject": "heatable", "CoolObject": "coolable"}
_TREATED_BY = {
    "sinkbasintype": "CleanObject",
    "sinktype": "CleanObject",
    "microwavetype": "HeatObject",
    "fridgetype": "CoolObject",
}
_KNIVES = {"knifetype", "butterknifetype"}


class Act(NamedTuple):
    """One command, understood: an action of the domain with its object, its receptacle, and a second object."""

    verb: str
    thing: int = -1
    place: int = -1
    other: int = -1


def opening(game: Game) -> str:
    """What the episode starts with: welcome, the whole room (at a receptacle, only what `look` shows), the task."""
    here = game.at.get(game.start.here)
    seen = _look(game, game.start) if here else game.wording.around.format(things=_listed(game.receptacles))
    return game.wording.intro.replace("#look.feedback#", seen).replace("#task#", game.task)


def commands(game: Game, state: State) -> dict[str, Act]:
    """Every command that does something now, sorted; all other lines are answered "Nothing happens."."""
    found = {line(game, act): act for act in _open_acts(game, state)}
    return {text: found[text] for text in sorted(found)}


def line(game: Game, act: Act) -> str:
    """How a command is written."""
    thing = game.objects[act.thing] if act.thing >= 0 else ""
    return game.wording.commands[act.verb].format(
        o=thing,
        co=thing,
        r=game.receptacles[act.place] if act.place >= 0 else "",
        ko=game.objects[act.other] if act.other >= 0 else "",
    )


def perform(game: Game, state: State, act: Act) -> tuple[State, str]:
    """What a command of `commands` leads to, and what it says."""
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
    """An act that changes something."""
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
    wanted = {thing for thing, kind in enumerate(game.object_kind) if kind == goal.kind}
    if goal.treatment is not None:
        wanted &= state.flags[goal.treatment] & game.able[ABLE[goal.treatment]]
    return any(
        len(wanted.intersection(things)) >= goal.count
        for kind, things in zip(game.place_kind, state.contents, strict=True)
        if kind == goal.place
    )


def _open_acts(game: Game, state: State) -> Iterator[Act]:
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
    """What can be done with one receptacle that stands here, and with what is in it."""
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
    """The state after an action that changes something."""
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
            raise AssertionError(f"{act} is no action")  # cannot be: `_open_acts` makes no other


def _moved(state: State, act: Act, held: int | None) -> State:
    """An object taken from a receptacle here, or put into one.

    What was taken still counts as taken from there until it is put back into that very receptacle: the original keeps
    a negated fact, and `look` lists what it speaks of.
    """
    inside, lies, taken = set(state.contents[act.place]), (act.thing, state.here), (act.thing, act.place)
    inside ^= {act.thing} & inside if held is not None else {act.thing} - inside
    return replace(
        state,
        held=held,
        contents=(*state.contents[: act.place], tuple(sorted(inside)), *state.contents[act.place + 1 :]),
        lies=state.lies - {lies} if held is not None else state.lies | {lies},
        taken=state.taken | {taken} if held is not None else state.taken - {taken},
    )


def _flagged(state: State, thing: int, *, on: str, off: str | None = None) -> State:
    flags: dict[str, Numbers] = {**state.flags, on: state.flags[on] | {thing}}
    if off is not None:
        flags[off] = flags[off] - {thing}
    return replace(state, flags=flags)


def _look(game: Game, state: State) -> str:
    """In the open nothing is seen, not even what the opening listed; so in the original."""
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
    """What is seen at a receptacle; for an action without one, nothing."""
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
    known: Mapping[str, Numbers] = {**game.able, **state.flags}
    for flags, text in game.wording.condition:
        # A negated flag (not_istoggled) is never among the original's facts, so a text that asks for one is never said.
        if all(thing in known.get(flag, ()) for flag in flags):
            return text.format(o=name)
    raise AssertionError(f"no text for {name}")  # cannot be: the last condition of the grammar asks for nothing


def _listed(names: Iterable[str]) -> str:
    return _joined(f"a {name}" for name in names) or "nothing"


def _joined(names: Iterable[str]) -> str:
    """ "x", "x, and y", "x, y, and z"."""
    *most, last = (*names,) or ("",)
    return f"{', '.join(most)}, and {last}" if most else last
