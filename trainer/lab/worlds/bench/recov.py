"""Recovery (agent-credit-bench, DOI 10.5281/zenodo.22178939): a mistake at the first turn can be repaired next."""

import numpy as np

from trainer.lab.worlds.sketch import Act, Way, leads, world_of
from trainer.lab.worlds.tabular import Tabular


def recovery(
    name: str = "recov", *, chance: float = 1.0, skill: float = 0.5, repairs: float = 0.5, seed: int = 0
) -> Tabular:
    """A world whose second turn may repair a mistake of the first.

    chance: of a repair that succeeds. skill, repairs: how often the policy takes the good action of each turn.
    """
    states = {
        "start": {"good": leads(pays=1.0, weight=skill), "bad": leads("mistake", weight=1.0 - skill)},
        "mistake": {
            "recover": Act(ways=(Way(chance=chance, pays=1.0), Way(chance=1.0 - chance)), weight=repairs),
            "give up": leads(weight=1.0 - repairs),
        },
    }
    return world_of(name, states, starts=["start"], horizon=2, seed=seed)


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    return recovery(chance=rng.uniform(0.5, 1.0), skill=rng.uniform(0.2, 0.8), repairs=rng.uniform(0.2, 0.8), seed=seed)
