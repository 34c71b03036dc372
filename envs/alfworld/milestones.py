"""How far a game is: the object found, held, changed and placed, as often as the goal asks for it."""

from envs.alfworld.engine import ABLE
from envs.alfworld.game import Game, Numbers, State


def milestone(game: Game, state: State, seen: Numbers) -> int:
    """Sub-goals that hold now, in the order of the task; 0 at the start of a game.

    The first is an object of the goal's type in a receptacle of `seen`. Then for each object that was not in place at
    the start: held, changed if the goal has a treatment, placed. For a goal with a lamp: held, and the lamp lit.
    """
    goal = game.goal
    goal_things = {thing for thing, kind in enumerate(game.object_kind) if kind == goal.kind}
    if goal.treatment is not None:
        goal_things &= game.able[ABLE[goal.treatment]]
    held = state.held in goal_things
    done = _placed(game, state, goal_things) - _placed(game, game.start, goal_things)
    found = held or done > 0 or any(not goal_things.isdisjoint(state.contents[place]) for place in seen)
    if goal.lamp is not None:
        lit = state.flags["istoggled"] - game.start.flags["istoggled"]
        return found + held + any(game.object_kind[thing] == goal.lamp for thing in lit)
    if goal.treatment is None:
        return found + 2 * done + held
    changed = held and state.held in state.flags[goal.treatment]
    return found + 3 * done + held + changed


def _placed(game: Game, state: State, wanted: set[int]) -> int:
    """The most objects that are fit for the goal in one receptacle of its type, up to the number it needs."""
    treatment, place_kind = game.goal.treatment, game.goal.place
    fit = wanted if treatment is None else wanted & state.flags[treatment]
    places = (things for kind, things in zip(game.place_kind, state.contents, strict=True) if kind == place_kind)
    return min(max((len(fit.intersection(things)) for things in places), default=0), game.goal.count)
