"""Which tasks an update plays when it prefers those that the policy solves about half the time."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from rollout.seeds import derive_seed
from rollout.types import RolloutGroup, Task
from trainer.data.tasks import numbered

FADING = 0.5
"""What earlier rollouts of a task weigh when it is played again: the policy has changed since."""

Seen = Mapping[str, tuple[float, float]]
"""Successes and rollouts of each task that was played, the earlier ones faded."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How often the policy solved each task so far."""

    seen: Seen = field(default_factory=lambda: MappingProxyType({}))
    """By task id; a task that was never played is not in it."""

    def after(self, groups: Sequence[RolloutGroup]) -> "Difficulty":
        """With these groups as well."""
        seen = dict(self.seen)
        for group in groups:
            wins, plays = seen.get(group.task_id, (0.0, 0.0))
            won = sum(trajectory.success for trajectory in group.trajectories)
            seen[group.task_id] = (FADING * wins + won, FADING * plays + len(group.trajectories))
        return Difficulty(MappingProxyType(seen))

    def weight(self, task_id: str) -> float:
        """p (1 - p), the variance of one rollout's success, with p = (successes + 1) / (rollouts + 2).

        >>> Difficulty().weight("new"), Difficulty({"won": (2.0, 2.0)}).weight("won")
        (0.25, 0.1875)
        """
        wins, plays = self.seen.get(task_id, (0.0, 0.0))
        solved = (wins + 1) / (plays + 2)
        return solved * (1 - solved)

    def tasks(self, task_ids: Sequence[str], *, seed: int, update: int, count: int) -> list[Task]:
        """`count` tasks for update number `update`, from 0, drawn by weight; none twice before each was drawn once."""
        chance = random.Random(derive_seed(seed, "difficulty", update))
        # Sampling by weight without replacement: the first of exponential clocks to ring (Efraimidis and Spirakis).
        waits = {task_id: -math.log(1 - chance.random()) / self.weight(task_id) for task_id in task_ids}
        order = sorted(task_ids, key=waits.__getitem__)
        return numbered([order[place % len(order)] for place in range(count)], seed=seed, update=update)
