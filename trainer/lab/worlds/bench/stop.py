"""Variable horizon (agent-credit-bench, DOI 10.5281/zenodo.22178939): stop now for this turn's pay, or go on.

All turns look alike, so that the turn is part of the truth and not of the state.
"""

from collections.abc import Sequence

import numpy as np

from trainer.lab.worlds.sketch import leads, world_of
from trainer.lab.worlds.tabular import Tabular

PAYS = (0.0, 2.0, 1.0, 3.0, 0.0)
"""What stopping pays at each turn, as published."""


def variable_horizon(name: str = "stop", *, pays: Sequence[float] = PAYS, stops: float = 0.5, seed: int = 0) -> Tabular:
    """A world in which the policy chooses the turn at which it stops.

    pays: by turn; the largest counts as SUCCESS_REWARD. stops: how often the policy stops. The last turn must.
    """
    states = {
        f"turn {turn}": {
            "stop": leads(pays=pay / max(pays), weight=stops),
            **({"go on": leads(f"turn {turn + 1}", weight=1.0 - stops)} if turn + 1 < len(pays) else {}),
        }
        for turn, pay in enumerate(pays)
    }
    looks = dict.fromkeys(states, "alive")
    return world_of(name, states, starts=["turn 0"], horizon=len(pays), looks=looks, seed=seed)


def layout(seed: int) -> Tabular:
    rng = np.random.default_rng(seed)
    turns = int(rng.integers(4, 9))
    pays = rng.permutation([0.0, 3.0, *rng.integers(0, 3, turns - 2)])
    return variable_horizon(pays=pays.tolist(), stops=rng.uniform(0.2, 0.6), seed=seed)
