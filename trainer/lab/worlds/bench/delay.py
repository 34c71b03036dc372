"""Delayed effect (agent-credit-bench, DOI 10.5281/zenodo.22178939): the first turn sets a hidden chance of success.

Every action after it has an advantage of 0.
"""

import numpy as np

from trainer.lab.worlds.sketch import Act, Way, leads, world_of
from trainer.lab.worlds.tabular import Tabular


def delayed_effect(
    name: str = "delay", *, horizon: int, good: float = 0.8, bad: float = 0.2, skill: float = 0.5, seed: int = 0
) -> Tabular:
    """good, bad: the chance of success after each first action. skill: how often the policy takes the good one."""

    def last(chance: float) -> Act:
        return Act(ways=(Way(chance=chance, pays=1.0), Way(chance=1.0 - chance)))

    states = {"start": {"good": leads("good 1", weight=skill), "bad": leads("bad 1", weight=1.0 - skill)}}
    for branch, chance in (("good", good), ("bad", bad)):
        for turn in range(1, horizon):
            act = last(chance) if turn == horizon - 1 else leads(f"{branch} {turn + 1}")
            states[f"{branch} {turn}"] = {"left": act, "right": act}
    looks = {state: state.split()[0] for state in states}  # the turn is not shown
    return world_of(name, states, starts=["start"], horizon=horizon, looks=looks, seed=seed)


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    return delayed_effect(
        horizon=int(rng.choice([2, 4, 8, 16])),
        good=rng.uniform(0.6, 0.95),
        bad=rng.uniform(0.05, 0.4),
        skill=rng.uniform(0.2, 0.8),
        seed=seed,
    )
