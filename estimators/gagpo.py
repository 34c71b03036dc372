"""GAGPO: temporal differences on the mean return of a state, without a critic (2605.13217)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Interval

from estimators.algebra.returns import Penalty, at_next, discounted, rewards, row_moments, row_penalty
from estimators.algebra.sets import Norm, relative
from estimators.algebra.states import States, visits
from estimators.base import Advantages, Needs, StepBatch
from estimators.options import check_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Gagpo:
    """GAGPO (2605.13217):

        A_t     = (C_t - mean_g) / F_g
        C_t     = sum_k (gamma * trace)^k * delta_{t+k}
        delta_t = r_t + gamma * V(s_{t+1}) - V(s_t)

        V(s)         mean return to go of the group's visits to s; 0 past the end
        mean_g, F_g  over the rows of the group

    Limiting cases:
        trace = 0: C is the temporal difference delta.
        trace = 1: C = G - V(s).
        no repeated states: 0, since V is the rollout's own return.
    Assumes that equal texts are equal states. There is no episode term: it would blur the steps.
    Reading: trace = 0.95, since the paper's value was not found. Normalisation over the group: in the paper's ablations
        the batch, or none, is worse.
    Diagnostics: `flat_group_share`, the share of groups without spread of C.
    Raises ValueError for an option out of range.
    """

    norm: Norm = "mean_std"
    """Divide deviations by the standard deviation or not."""
    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Discount of the return to go."""
    trace: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Decay of later temporal differences (lambda)."""
    state: States = "observation"
    """What counts as one state: an equal observation, or an equal history of observations and actions."""
    penalty: Penalty = "return"
    """An invalid response costs `invalid_penalty` as a reward, or on its own row after C is computed."""
    invalid_penalty: Annotated[float, Ge(0)] = 0.1
    """What an invalid response costs, in units of reward."""

    needs: ClassVar[Needs] = Needs(group_based=True)

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        reward = rewards(batch, self.penalty, self.invalid_penalty)
        anchors = visits(batch, self.state)
        state_value = anchors.mean(discounted(batch, reward, self.gamma))[anchors.label]
        delta = reward + self.gamma * at_next(batch, state_value, 0.0) - state_value
        credit = discounted(batch, delta, self.gamma * self.trace)
        credit -= row_penalty(batch, self.penalty, self.invalid_penalty)
        stats = row_moments(batch, credit, self.norm)
        return Advantages(
            value=relative(credit, batch.groups.label, stats),
            diagnostics={"flat_group_share": stats.flat_share},
        )
