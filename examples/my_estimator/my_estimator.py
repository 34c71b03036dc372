"""An estimator of one's own: the return to go, less what the siblings had left at the same turn."""

from dataclasses import dataclass

import numpy as np

from estimators import Advantages, StepBatch
from estimators.algebra.returns import discounted


@dataclass(frozen=True, slots=True, kw_only=True)
class MyEstimator:
    """A = G - mean of G over the group's rows of the same turn.

    G is the discounted return to go. With one rollout in a group every advantage is exactly 0.
    """

    gamma: float = 0.95
    """Discount in [0, 1]."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"gamma={self.gamma}: give a value in [0, 1]")

    def __call__(self, batch: StepBatch) -> Advantages:
        to_go = discounted(batch, batch.reward, self.gamma)  # [N]
        turns = batch.groups.split(batch.time)  # rows by group and turn
        value = to_go - turns.mean(to_go)[turns.label]
        return Advantages(
            value=value, diagnostics={"alone": float((turns.size == 1).mean()), "g": float(np.mean(to_go))}
        )
