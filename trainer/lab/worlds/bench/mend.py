"""Mistakes that can be repaired: a wrong step leads into a mess, from which one action leads back and another fails."""

import numpy as np

from trainer.lab.worlds.sketch import leads, world_of
from trainer.lab.worlds.tabular import Tabular


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    steps, skill, repairs = int(rng.integers(2, 6)), rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.8)
    states = {}
    for step in range(steps):
        ahead = leads(f"step {step + 1}", weight=skill) if step + 1 < steps else leads(pays=1.0, weight=skill)
        states[f"step {step}"] = {
            f"right {step}": ahead,
            "hurry": leads(f"mess {step}", weight=(1.0 - skill) / 2),
            "guess": leads(f"mess {step}", weight=(1.0 - skill) / 2),
        }
        states[f"mess {step}"] = {
            "mend": leads(f"step {step}", weight=repairs),
            "look": leads(f"mess {step}", weight=(1.0 - repairs) / 2),
            "break": leads(weight=(1.0 - repairs) / 2),
        }
    return world_of("mend", states, starts=["step 0"], horizon=3 * steps, seed=seed)
