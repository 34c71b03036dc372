"""G2PO: the value of the state that a step leads to, compared inside the state and inside the group (2606.22995)."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Interval

from estimators.algebra.returns import at_next, discounted, rewards, row_moments, row_penalty
from estimators.algebra.sets import moments, relative
from estimators.algebra.states import States, visits
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class G2po(Grpo):
    """G2PO, on the graph of a group's states (2606.22995):

        A      = A_E + omega * (A_node + A_edge)
        A_node = (Q - mean_s) / F_s
        A_edge = (Q - V(s) - mean_g) / F_g
        Q      = r + V(s')
        V(s)   = gamma * mean G

        A_E          the episode term of `Grpo`
        G            discounted return to go; its mean is over the group's visits to s
        s'           the state after the step; V is 0 past the end, so a last step is worth its reward
        mean_s, F_s  over the steps from s
        mean_g, F_g  over all steps of the group

    Limiting cases:
        omega = 0: GRPO.
    Assumes that states are told apart by their text, and that getting nearer pays wherever it happens.
    We differ: a reward before the end counts in Q; the source has none. `penalty="row"` is the published code, which
        takes the invalid penalty off the Q of A_node only.
    Diagnostics: `flat_group_share`, the share of groups without spread of R.
    Raises ValueError for an option out of range.
    """

    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Discount of the return to go."""
    omega: Annotated[float, Ge(0)] = 1.0
    """Weight of the step term."""
    state: States = "observation"
    """What counts as one state: an equal observation, or an equal history of observations and actions."""

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        reward = rewards(batch, self.penalty, self.invalid_penalty)
        anchors = visits(batch, self.state)
        state_value = self.gamma * anchors.mean(discounted(batch, reward, self.gamma))[anchors.label]
        action_value = reward + at_next(batch, state_value, 0.0)
        arrival = action_value - row_penalty(batch, self.penalty, self.invalid_penalty)
        node = relative(arrival, anchors.label, moments(anchors, arrival, self.norm))
        gain = action_value - state_value
        edge = relative(gain, batch.groups.label, row_moments(batch, gain, self.norm))
        return Advantages(value=episode + self.omega * (node + edge), diagnostics=diagnostics)
