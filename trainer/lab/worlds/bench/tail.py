"""A long tail that does not matter: after the first choice the rollout wanders for many turns, whatever it does."""

import numpy as np

from trainer.lab.worlds.sketch import Act, Way, leads, world_of
from trainer.lab.worlds.tabular import Tabular

ROOMS = 3
"""Rooms that a branch of the tail wanders through."""


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    turns, skill = int(rng.integers(8, 21)), rng.uniform(0.2, 0.7)
    states = {
        "start": {
            "well": leads("well 0 0", weight=skill),
            "badly": leads("badly 0 0", weight=(1.0 - skill) / 2),
            "not": leads("badly 0 1", weight=(1.0 - skill) / 2),
        }
    }
    for branch, pays in (("well", 1.0), ("badly", 0.0)):
        for turn in range(turns):
            for room in range(ROOMS):
                if turn + 1 == turns:
                    wander = leads(pays=pays)
                else:
                    ahead = [f"{branch} {turn + 1} {other}" for other in range(ROOMS)]
                    wander = Act(ways=tuple(Way(to=to, chance=1.0 / ROOMS) for to in ahead))
                states[f"{branch} {turn} {room}"] = {"left": wander, "right": wander, "look": wander}
    looks = {state: f"{state.split()[0]} {state.split()[2]}" for state in states if state != "start"}
    return world_of("tail", states, starts=["start"], horizon=turns + 1, looks=looks, seed=seed)
