"""Sub-goals of rollouts under way: the milestones that each has reached, and the turns that begin a new sub-goal."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Goals:
    """Counts milestones over the turns of many rollouts. The next milestone is the sub-goal in force."""

    def __init__(self, milestones: Ints | None, *, success: int, rollouts: int) -> None:
        """milestones: [S, A], the milestone that each action reaches, 0 for none; None: the state `success` alone."""
        self._milestones, self._success = milestones, success
        self._reached = np.zeros(rollouts, np.int64)  # one bit for each milestone
        self._begins = np.ones(rollouts, np.bool_)

    def after(self, alive: Ints, before: Ints, action: Ints, state: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """What a turn of the rollouts `alive` [M] did, from the states `before` by `action` to `state`, each [M].

        Returns the milestones [M] reached after it, and whether it began a sub-goal [M], as the first turn does and
        each that follows a new milestone.
        """
        held, begins = self._reached[alive], self._begins[alive]
        gained = state == self._success if self._milestones is None else self._milestones[before, action]
        now = held | np.where(gained > 0, np.left_shift(1, gained.astype(np.int64)), 0)
        self._reached[alive], self._begins[alive] = now, now != held
        return np.bitwise_count(now).astype(np.int64), begins
