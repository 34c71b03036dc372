"""GAGPO: temporal differences against the mean return of a state, with no critic (2605.13217)."""

from dataclasses import dataclass
from typing import ClassVar

from estimators.algebra.returns import at_next, discounted, rewards, row_moments, row_penalty
from estimators.algebra.sets import Norm, relative
from estimators.base import Advantages, StepBatch
from estimators.options import Penalty, check_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Gagpo:
    """A_t = sum_k (gamma trace)^k delta_{t+k}, delta_t = r_t + gamma V(s_{t+1}) - V(s_t), normalised (2605.13217).

    V(s) is the mean return to go of the group's visits to s, and 0 past the end. The rows of one group are normalised
    together (the paper's ablations: over the batch or not at all is worse). No episode term: it would blur the steps.
    trace=1 gives G - V(s) before normalisation, trace=0 the plain TD error; the paper's own value was not to be found,
    0.95 is a reading. Assumes that equal texts are equal states; where no state repeats, V is a rollout's own return
    and every delta is 0. Diagnostics: `flat_group_share`, groups without spread of A.
    """

    norm: Norm = "mean_std"
    gamma: float = 0.95
    trace: float = 0.95
    penalty: Penalty = "return"
    invalid_penalty: float = 0.1

    group_based: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        reward = rewards(batch, self.penalty, self.invalid_penalty)
        anchors = batch.anchors
        state_value = anchors.mean(discounted(batch, reward, self.gamma))[anchors.label]
        delta = reward + self.gamma * at_next(batch, state_value, 0.0) - state_value
        credit = discounted(batch, delta, self.gamma * self.trace)
        credit -= row_penalty(batch, self.penalty, self.invalid_penalty)
        stats = row_moments(batch, credit, self.norm)
        return Advantages(
            value=relative(credit, batch.groups.label, stats),
            diagnostics={"flat_group_share": float((~stats.signal).mean())},
        )
