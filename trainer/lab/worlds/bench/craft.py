"""TextCraft, solved through snapshots of the world itself: other goals and other skills in each layout."""

import numpy as np

from trainer.lab.worlds.crafting import CraftingConfig, crafting
from trainer.lab.worlds.tabular import Tabular


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    return crafting(
        CraftingConfig(
            name="craft",
            split="train_depth3",
            tasks=2,
            expert=rng.uniform(0.3, 0.7),
            horizon=12,
            max_states=300,
            order=seed,
            seed=seed,
        )
    )
