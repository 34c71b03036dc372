"""Aliased states: chance shows a sign, the sign is out of sight, and at doors that look alike the right one differs."""

from itertools import pairwise

import numpy as np

from trainer.lab.worlds.sketch import Act, Way, leads, world_of
from trainer.lab.worlds.tabular import Tabular


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    rooms, corridor, share = int(rng.integers(2, 4)), int(rng.integers(1, 4)), rng.uniform(0.3, 0.7)
    likely = rng.dirichlet(np.full(rooms, 4.0))
    dealt = Act(ways=tuple(Way(to=f"sign {room}", chance=chance) for room, chance in enumerate(likely)))
    states = {"start": {"look": dealt, "wait": dealt}}
    for room in range(rooms):
        way = [f"hall {room} {turn}" for turn in range(corridor)] + [f"doors {room}"]
        states[f"sign {room}"] = {"go": leads(way[0], weight=share), "leave": leads(weight=1.0 - share)}
        for here, ahead in pairwise(way):
            states[here] = {"go": leads(ahead), "run": leads(ahead)}
        states[way[-1]] = {f"door {door}": leads(pays=float(door == room)) for door in range(rooms)}
    looks = {state: state.split()[0] for state in states if state.startswith(("hall", "doors"))}
    return world_of("alias", states, starts=["start"], horizon=3 + corridor, looks=looks, seed=seed)
