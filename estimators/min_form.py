"""Min form: a step is worth the smallest reward to come instead of their sum (PURE, 2504.15275)."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from estimators.algebra.returns import least_to_come, rewards, row_moments, row_penalty
from estimators.algebra.sets import relative
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class MinForm(Grpo):
    """The min form of PURE (2504.15275), as a step term:

        A   = A_E + omega * A_S
        A_S = (L - mean_g) / F_g
        L_t = min_{u >= t} r_u

        A_E          the episode term of `Grpo`
        r            reward of a step
        mean_g, F_g  of L over the group's steps

    Limiting cases:
        omega = 0: GRPO.
        rollouts of one step: twice GRPO.
        a reward at the end only: L is 0 before it, and only penalties and the last steps differ.
    Assumes a reward per step that measures the step: a chain is as good as its worst link, and high rewards cannot be
    piled up.
    We differ: PURE takes a softmin of temperature 0.1, gives 0 after the worst step and compares responses
        leave-one-out.
    Diagnostics: `flat_group_share`, the share of groups without spread of R.
    Raises ValueError for an option out of range.
    """

    omega: Annotated[float, Ge(0)] = 1.0
    """Weight of the step term."""

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        least = least_to_come(batch, rewards(batch, self.penalty, self.invalid_penalty))
        least -= row_penalty(batch, self.penalty, self.invalid_penalty)
        step = relative(least, batch.groups.label, row_moments(batch, least, self.norm))
        return Advantages(value=episode + self.omega * step, diagnostics=diagnostics)
