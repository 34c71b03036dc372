"""The worlds of the bench: `WORLDS["delay"](7)` is layout 7 of the world "delay", with a policy of its own.

A new world is one file beside this one, with one import and one entry in `WORLDS`. Its function draws everything from
the number of the layout: the world's size and chances, and the policy.
"""

from collections.abc import Callable, Mapping

from trainer.lab.worlds.bench import alias, craft, delay, detour, fork, grade, luck, mazes, mend, recov, stop, tail
from trainer.lab.worlds.tabular import Tabular

WORLDS: Mapping[str, Callable[[int], Tabular]] = {
    "delay": delay.layout,
    "recov": recov.layout,
    "stop": stop.layout,
    "fork": fork.layout,
    "mend": mend.layout,
    "luck": luck.layout,
    "alias": alias.layout,
    "tail": tail.layout,
    "grade": grade.layout,
    "maze": mazes.layout,
    "craft": craft.layout,
}
APART: Mapping[str, Callable[[int], Tabular]] = {"detour": detour.layout}
"""Worlds that are no part of the bench as a whole: they show one thing, and only to who names them."""
