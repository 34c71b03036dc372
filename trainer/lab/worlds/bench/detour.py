"""A milestone that is a detour: a trinket is counted on the way to the goal, takes a turn, and brings nothing."""

from dataclasses import replace

import numpy as np

from trainer.lab.worlds.sketch import leads, world_of
from trainer.lab.worlds.tabular import Tabular


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    rooms, slack = int(rng.integers(2, 5)), int(rng.integers(1, 3))
    skill, greed = rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.4)
    idle = 1.0 - skill - greed if skill + greed < 0.9 else 0.1
    states = {}
    for room in range(rooms):
        ahead = leads(f"room {room + 1}", weight=skill) if room + 1 < rooms else leads(pays=1.0, weight=skill)
        states[f"room {room}"] = {
            f"go {room}": ahead,
            f"trinket {room}": leads(f"room {room}", weight=greed),
            "wait": leads(f"room {room}", weight=idle),
        }
    world = world_of("detour", states, starts=["room 0"], horizon=rooms + slack, seed=seed)
    milestones = np.zeros(world.keys.shape, np.int64)
    milestones[:, 1] = np.arange(rooms) + 1  # each room's trinket, and not the goal
    return replace(world, milestones=milestones)
