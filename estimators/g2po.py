"""G2PO: how good the state is that a step leads to, among the steps from one state and among all (2606.22995)."""

from dataclasses import dataclass

from estimators.algebra.returns import at_next, discounted, rewards, row_moments, row_penalty
from estimators.algebra.sets import moments, relative
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class G2po(Grpo):
    """A = A_E + omega * (A_node + A_edge) on the group's merged state graph (2606.22995).

    V(s) = gamma * mean return to go of the visits to s; Q = r + V(s'), with V 0 past the end, so that a last step is
    worth its outcome. A_node = Q normalised over the steps from one state; A_edge = Q - V(s) normalised over all steps
    of the group. Assumes that states are told apart by their text and that getting nearer pays wherever it happens.
    Published code subtracts an invalid penalty from A_node's Q alone: `penalty="row"`. We differ: with a reward before
    the end it counts in Q (the source has none).  Diagnostics: `flat_group_share`.
    """

    gamma: float = 0.95
    omega: float = 1.0

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        reward = rewards(batch, self.penalty, self.invalid_penalty)
        anchors = batch.anchors
        state_value = self.gamma * anchors.mean(discounted(batch, reward, self.gamma))[anchors.label]
        action_value = reward + at_next(batch, state_value, 0.0)
        arrival = action_value - row_penalty(batch, self.penalty, self.invalid_penalty)
        node = relative(arrival, anchors.label, moments(anchors, arrival, self.norm))
        gain = action_value - state_value
        edge = relative(gain, batch.groups.label, row_moments(batch, gain, self.norm))
        return Advantages(value=episode + self.omega * (node + edge), diagnostics=diagnostics)
