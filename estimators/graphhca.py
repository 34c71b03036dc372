"""GraphHCA: steps credited by the change in the log of the chance of success on the group's graph (2609.35084)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from estimators.algebra.returns import succeeded
from estimators.algebra.sets import moments, relative
from estimators.algebra.states import States, visits
from estimators.algebra.values import next_values
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Graphhca(Grpo):
    """GraphHCA, on the graph of a group's states (2609.35084):

        A      = A_E + omega * A_S
        A_S    = (l - mean_s) / F_s
        l      = Psi(s') - Psi(s)
        Psi(s) = log max(Phi(s), clamp)
        Phi(s) = gamma * sum over actions a of n(s, a) / n(s) * Phi(s')

        A_E          the episode term of `Grpo`
        n            visits to s, and those of them that took a; where one action led to several s', their mean counts
        s'           the state after the step; Phi is 1 at the end of a success and 0 at the end of a failure
        mean_s, F_s  of l over the steps from s

    Limiting cases:
        omega = 0: GRPO.
        a group without a success: GRPO.
        Phi without the log and the normalisation: V of `Crbc`.
    Assumes that the graph is the world. It fails where gamma^T is below the clamp, since all l far from the end are 0
    then, and where chance decides: one lucky step out of a state that seldom leads to success is a large l.
    Reading: a graded outcome below full marks is a failure.
    Diagnostics: `flat_group_share`; `clamped_share`, the share of rows with Phi(s') at the clamp or below;
        `contrast_share`, the share of rows whose state saw steps with different l.
    Raises ValueError for an option out of range.
    """

    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Discount per step."""
    omega: Annotated[float, Ge(0)] = 1.0
    """Weight of the step term."""
    clamp: Annotated[float, Interval(ge=1e-12, le=1)] = 0.01
    """Smallest Phi whose log is taken."""
    success_reward: Annotated[float, Ge(1e-6)] = 10.0
    """What the environment pays over a rollout that succeeds."""
    state: States = "observation"
    """What counts as one state: an equal observation, or an equal history of observations and actions."""

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        anchors = visits(batch, self.state)
        won = succeeded(batch, self.success_reward).astype(np.float64)
        ahead = next_values(batch, anchors, won, self.gamma)  # Phi(s') [N]
        arrived = np.log(np.maximum(ahead, self.clamp))  # l, up to Psi(s), which all steps from s share
        stats = moments(anchors, arrived, self.norm)
        diagnostics["clamped_share"] = float((ahead <= self.clamp).mean())
        diagnostics["contrast_share"] = float(stats.signal[anchors.label].mean())
        return Advantages(value=episode + self.omega * relative(arrived, anchors.label, stats), diagnostics=diagnostics)
