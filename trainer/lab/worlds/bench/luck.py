"""A stochastic step: most of the spread of the outcome is luck, which no action is to be praised for."""

import numpy as np

from trainer.lab.worlds.sketch import Act, Way, leads, world_of
from trainer.lab.worlds.tabular import Tabular


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    turns = int(rng.integers(1, 4))
    careful, bold = np.sort(rng.uniform(0.2, 0.8, 2))[::-1]
    high, low = rng.uniform(0.8, 1.0), rng.uniform(0.0, 0.2)
    weight = rng.uniform(0.3, 0.7)

    def throws(chance: float) -> tuple[Way, ...]:
        return Way(to="up 0", chance=chance), Way(to="down 0", chance=1.0 - chance)

    states = {
        "start": {
            "careful": Act(ways=throws(careful), weight=weight),
            "bold": Act(ways=throws(bold), weight=1.0 - weight),
        }
    }
    for branch, chance in (("up", high), ("down", low)):
        for turn in range(turns):
            last = turn + 1 == turns
            works = Act(ways=(Way(chance=chance, pays=1.0), Way(chance=1.0 - chance)))
            states[f"{branch} {turn}"] = {
                "work": works if last else leads(f"{branch} {turn + 1}"),
                "rest": Act(ways=(Way(chance=chance / 2, pays=1.0), Way(chance=1.0 - chance / 2)))
                if last
                else leads(f"{branch} {turn + 1}"),
            }
    return world_of("luck", states, starts=["start"], horizon=turns + 1, seed=seed)
