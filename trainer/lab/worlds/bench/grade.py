"""Graded rewards, as a shop pays: each option that is right raises the share that buying pays at the end."""

from itertools import product

import numpy as np

from trainer.lab.worlds.sketch import State, leads, world_of
from trainer.lab.worlds.tabular import Tabular


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    options, choices, skill = int(rng.integers(2, 5)), int(rng.integers(2, 4)), rng.uniform(0.3, 0.6)
    early = rng.uniform(0.05, 0.2)  # how often the policy buys before all options are chosen
    states: dict[str, State] = {}
    for chosen in (picks for turn in range(options + 1) for picks in product("yn", repeat=turn)):
        buy = leads(pays=chosen.count("y") / options, weight=early if len(chosen) < options else 1.0)
        name = "page " + "".join(chosen)
        picks = {
            f"option {pick}": leads(
                name + ("y" if pick == 0 else "n"),
                weight=(1.0 - early) * (skill if pick == 0 else (1.0 - skill) / (choices - 1)),
            )
            for pick in range(choices)
        }
        states[name] = {"buy": buy, **(picks if len(chosen) < options else {})}
    return world_of("grade", states, starts=["page "], horizon=options + 1, seed=seed)
