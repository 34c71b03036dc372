"""Mazes of several sizes, floors and skills."""

from itertools import count

import numpy as np

from trainer.config.build import ConfigError
from trainer.lab.worlds.maze import MazeConfig, maze
from trainer.lab.worlds.tabular import Tabular


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    width, pits = int(rng.integers(4, 7)), int(rng.integers(0, 4))
    slip, skill = rng.uniform(0.0, 0.4), rng.uniform(0.2, 0.5)
    for attempt in count():
        try:
            return maze(
                MazeConfig(
                    width=width,
                    horizon=5 * width,
                    tasks=2,
                    pits=pits,
                    slip=slip,
                    skill=skill,
                    seed=seed + 100_000 * attempt,
                )
            )
        except ConfigError:  # pits around the goal or a start: the next one
            continue
    raise AssertionError
