"""One turn decides, and is marked: at a fork one door leads to success; no other turn matters."""

import numpy as np

from trainer.lab.worlds.sketch import State, leads, world_of
from trainer.lab.worlds.tabular import Tabular


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    before, after, doors = (int(rng.integers(*span)) for span in ((1, 5), (1, 5), (2, 6)))
    weights = rng.uniform(0.5, 2.0, doors)

    def walk(place: str, turns: int, to: str, pays: float = 0.0) -> dict[str, State]:
        """Turns that do not matter, on the way from `place` to `to`."""
        names = [f"{place} {turn}" for turn in range(turns)]
        return {
            name: {text: leads(ahead, pays=pays if ahead == to else 0.0) for text in ("left", "right", "look")}
            for name, ahead in zip(names, [*names[1:], to], strict=True)
        }

    states = {
        **walk("path", before, "fork"),
        "fork": {
            f"door {door}": leads("right 0" if door == 0 else "wrong 0", weight=weight)
            for door, weight in enumerate(weights)
        },
        **walk("right", after, "", pays=1.0),
        **walk("wrong", after, ""),
    }
    return world_of("fork", states, starts=["path 0"], horizon=before + 1 + after, seed=seed)
