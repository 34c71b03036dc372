"""An estimator of one's own: the return to go, less what the siblings had left at the same turn."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from estimators import Advantages, Needs, StepBatch
from estimators.algebra.returns import discounted


@dataclass(frozen=True, kw_only=True)
class MyEstimator:
    """A = G - mean of G over the group's rows of the same turn.

    G is the discounted return to go. A turn that only one rollout reached gives exactly 0.
    """

    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Discount."""

    needs = Needs(group_based=True)  # a group of one rollout is refused

    def __call__(self, batch: StepBatch) -> Advantages:
        to_go = discounted(batch, batch.reward, self.gamma)  # [N]
        turns = batch.groups.split(batch.time)  # rows by group and turn
        value = to_go - turns.mean(to_go)[turns.label]
        return Advantages(value=value, diagnostics={"alone": float((turns.size == 1).mean())})
