"""Min form: a step is worth the worst reward still to come, not their sum (PURE, 2504.15275)."""

from dataclasses import dataclass

from estimators.algebra.returns import least_to_come, rewards, row_moments, row_penalty
from estimators.algebra.sets import relative
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class MinForm(Grpo):
    """A = A_E + omega * A_S, A_S = (G - mean) / F over the group's steps, G_t = min_{u >= t} r_u (2504.15275).

    Assumes a reward per step that measures the step: a chain is as good as its worst link, and high rewards cannot be
    piled up. With a reward at the end alone G is 0 before it, and only penalties and the last steps differ. We differ:
    PURE takes a softmin of temperature 0.1, gives 0 after the worst step, and compares responses leave-one-out.
    Diagnostics: `flat_group_share` of A_E.
    """

    omega: float = 1.0

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        least = least_to_come(batch, rewards(batch, self.penalty, self.invalid_penalty))
        least -= row_penalty(batch, self.penalty, self.invalid_penalty)
        step = relative(least, batch.groups.label, row_moments(batch, least, self.norm))
        return Advantages(value=episode + self.omega * step, diagnostics=diagnostics)
