"""The expert: finds a short way to the goal from any state. It knows everything, or only what the agent was shown."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from envs.alfworld.engine import ABLE, Act, is_won, perform
from envs.alfworld.game import Game, Numbers, State
from envs.base import EnvError

_STATIONS = {
    "isclean": ("CleanObject", ("sinkbasintype", "sinktype")),
    "ishot": ("HeatObject", ("microwavetype",)),
    "iscool": ("CoolObject", ("fridgetype",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A sequence of acts and where it leads."""

    acts: tuple[Act, ...]
    """The acts, in order."""

    here: int
    """The agent's location after them."""

    held: int | None
    """The object in hand after them; None for none."""

    opened: Numbers
    """The receptacles that are open after them."""

    def then(self, act: Act, *, here: int | None = None, held: int | None = None, opened: int | None = None) -> "Route":
        """The route with one more act; `held` is the object in hand after it."""
        return Route(
            acts=(*self.acts, act),
            here=self.here if here is None else here,
            held=held,
            opened=self.opened if opened is None else self.opened | {opened},
        )


class Planner:
    """Finds routes from one state of a game. known: the receptacles whose contents it may use; None for all."""

    def __init__(self, game: Game, state: State, known: Numbers | None = None) -> None:
        goal = game.goal
        able = None if goal.treatment is None else game.able[ABLE[goal.treatment]]
        self.game, self.state = game, state
        # Objects of the goal's type that can have its treatment, and those that have it already.
        self._candidates = [
            thing
            for thing, kind in enumerate(game.object_kind)
            if kind == goal.kind and (able is None or thing in able)
        ]
        self._treated = (
            set(self._candidates)
            if goal.treatment is None
            else state.flags[goal.treatment].intersection(self._candidates)
        )
        self._holders: dict[int, list[int]] = {}  # object -> known receptacles that contain it
        for place, things in enumerate(state.contents):
            if known is None or place in known:
                for thing in things:
                    self._holders.setdefault(thing, []).append(place)

    def best(self) -> tuple[Act, ...] | None:
        """The shortest route considered; () if the goal holds; None if the known receptacles offer no route."""
        start = Route(acts=(), here=self.state.here, held=self.state.held, opened=self.state.opened)
        ways = self._to_lamp(start) if self.game.goal.lamp is not None else self._to_place(start)
        return min((way.acts for way in ways), key=len, default=None)

    def _to_lamp(self, start: Route) -> Iterator[Route]:
        """Fetch the object, go to a lamp, and switch it on unless it is on."""
        goal, game = self.game.goal, self.game
        for thing in self._candidates:
            for lamp in sorted(game.able["toggleable"]):
                for place in self._holders.get(lamp, ()) if game.object_kind[lamp] == goal.lamp else ():
                    fetched = self.fetch(start, thing)
                    if fetched is not None:
                        there = self.walk(fetched, place)
                        lit = lamp in self.state.flags["istoggled"]
                        yield there if lit else there.then(Act("ToggleObject", thing=lamp), held=there.held)

    def _to_place(self, start: Route) -> Iterator[Route]:
        """For each suitable receptacle: treat and bring the missing objects, the nearest first."""
        goal, game = self.game.goal, self.game
        for place, kind in enumerate(game.place_kind):
            if kind != goal.place or (kind, goal.kind) not in game.fits:
                continue
            there = {thing for thing in self._treated if place in self._holders.get(thing, ())}
            ways = [start]
            for _ in range(goal.count - len(there)):
                ways = [min(legs, key=_length)] if (legs := self._legs(ways[0], place, there)) else []
                if not ways:
                    break
                there |= {act.thing for act in ways[0].acts if act.verb == "PutObject" and act.place == place}
            yield from ways

    def _legs(self, route: Route, place: int, there: Collection[int]) -> list[Route]:
        """Routes that bring one more object to the receptacle."""
        legs = (self._bring(route, thing, place) for thing in self._candidates if thing not in there)
        return [leg for leg in legs if leg is not None]

    def _bring(self, route: Route, thing: int, place: int) -> Route | None:
        """Fetch an object, treat it if needed, and put it into a receptacle."""
        fetched = self.fetch(route, thing)
        if fetched is None:
            return None
        treated = [fetched] if thing in self._treated else list(self._treat(fetched, thing))
        ends = (
            self.open(self.walk(way, place), place).then(Act("PutObject", thing=thing, place=place)) for way in treated
        )
        return min(ends, key=_length, default=None)

    def _treat(self, route: Route, thing: int) -> Iterator[Route]:
        treatment = self.game.goal.treatment
        if treatment is None:
            return
        verb, kinds = _STATIONS[treatment]
        for place, kind in enumerate(self.game.place_kind):
            if kind in kinds:
                yield self.walk(route, place).then(Act(verb, thing=thing, place=place), held=thing)

    def fetch(self, route: Route, thing: int) -> Route | None:
        """Empty the hands and take an object; None if no known receptacle has it or it cannot be taken."""
        if route.held == thing:
            return route
        empty = route if route.held is None else self._put_away(route)
        if empty is None or thing not in self.game.able["pickupable"]:
            return None
        ways = (
            self.open(self.walk(empty, place), place).then(Act("PickupObject", thing=thing, place=place), held=thing)
            for place in self._holders.get(thing, ())
        )
        return min(ways, key=_length, default=None)

    def walk(self, route: Route, place: int) -> Route:
        """Go to a receptacle, unless the agent is there."""
        spot = self.game.spot[place]
        return route if spot == route.here else route.then(Act("GotoLocation", place=place), here=spot, held=route.held)

    def open(self, route: Route, place: int) -> Route:
        """Open the receptacle here, if it can be opened and is closed."""
        if place not in self.game.openable or place in route.opened:
            return route
        return route.then(Act("OpenObject", place=place), held=route.held, opened=place)

    def _put_away(self, route: Route) -> Route | None:
        """Put the held object into the nearest receptacle that takes it."""
        assert route.held is not None
        kind = self.game.object_kind[route.held]
        ways = (
            self.open(self.walk(route, place), place).then(Act("PutObject", thing=route.held, place=place))
            for place, place_kind in enumerate(self.game.place_kind)
            if (place_kind, kind) in self.game.fits
        )
        return min(ways, key=_length, default=None)


def solution(game: Game, *, max_steps: int) -> tuple[Act, ...] | None:
    """The acts of `search` from the start of a game to its end; None if they are more than `max_steps`."""
    state, seen, acts = game.start, frozenset[int](), list[Act]()
    while not is_won(game, state):
        if len(acts) == max_steps:
            return None
        acts.append(search(game, state, seen))
        state, _ = perform(game, state, acts[-1])
        seen |= shown_by(game, state, acts[-1])
    return tuple(acts)


def shown_by(game: Game, state: State, act: Act) -> Numbers:
    """The receptacle whose contents an act showed, given the state after it; empty for most acts."""
    if act.verb in ("GotoLocation", "OpenObject", "examineReceptacle"):
        return frozenset({act.place} - (game.openable - state.opened))
    return frozenset()


def search(game: Game, state: State, seen: Numbers) -> Act:
    """The next act of an agent that knows only the contents of the receptacles `seen`: follow a route, or look further.

    It looks first where the object fits, and at receptacles here before others. Raises EnvError if everything was seen
    and no route reaches the goal.
    """
    route = Planner(game, state, known=seen).best()
    if route:
        return route[0]
    unseen = [place for place in range(len(game.spot)) if place not in seen]
    if not unseen:
        raise EnvError(f"the expert knows no way to the goal of {game.task!r}")

    def order(place: int) -> tuple[bool, bool, bool, int]:
        fits = (game.place_kind[place], game.goal.kind) in game.fits
        return game.spot[place] != state.here, not fits, place in game.openable, -place

    place = min(unseen, key=order)
    if game.spot[place] != state.here:
        return Act("GotoLocation", place=place)
    closed = place in game.openable and place not in state.opened
    return Act("OpenObject" if closed else "examineReceptacle", place=place)


def _length(route: Route) -> int:
    return len(route.acts)
