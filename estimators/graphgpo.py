"""GraphGPO: steps credited by how near they come to success on the graph of a group's states (2605.26684)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from estimators.algebra.graph import steps_to
from estimators.algebra.returns import at_next, row_penalty, succeeded
from estimators.algebra.sets import Sets, moments, relative
from estimators.algebra.states import States, visits
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Graphgpo(Grpo):
    """GraphGPO, on the graph of a group's states (2605.26684 eq. 4):

        A   = A_E + omega * A_S
        A_S = (c - mean_s) / F_s
        c   = success_reward * decay^(d(s') + 1)

        A_E          the episode term of `Grpo`
        d(s)         steps of the shortest observed path from s to a success of the group; without such a path, one
                     more than the largest d of the group
        s'           the state after the step; the last step leads to success (d = 0) or to no state
        mean_s, F_s  of c over the steps from s

    Limiting cases:
        omega = 0: GRPO.
        a group without success, with penalty="return": GRPO.
    Assumes deterministic transitions: one lucky path sets the distance of all states on it.
    Reading: the last step of a failure leads to no state, since no column holds its last observation.
    We differ: the public recipe pays 10 * decay^d(s'), so with norm="mean" our A_S is smaller by the factor decay.
        `penalty="row"` takes the invalid penalty off c, as its trainer does.
    Diagnostics: `flat_group_share`; `reachable_share`, the share of states with a path to success; `distance_max`, the
        largest finite d. With decay = 0.1, credits six steps and more from success differ by less than the 1e-6 that
        counts as spread.
    Raises ValueError for an option out of range.
    """

    omega: Annotated[float, Ge(0)] = 1.0
    """Weight of the step term."""
    decay: Annotated[float, Interval(ge=0, le=1)] = 0.1
    """Factor of the credit per step of distance: 0.1 for ALFWorld, 0.2 for WebShop, 0.8 for Sokoban."""
    success_reward: Annotated[float, Ge(1e-6)] = 10.0
    """What the environment pays over a rollout that succeeds."""
    state: States = "observation"
    """What counts as one state: an equal observation, or an equal history of observations and actions."""

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        anchors = visits(batch, self.state)
        here, there = self._distances(batch, anchors)
        credit = self.success_reward * self.decay ** (there + 1.0)
        credit -= row_penalty(batch, self.penalty, self.invalid_penalty)
        step = relative(credit, anchors.label, moments(anchors, credit, self.norm))
        reachable = np.isfinite(here)
        diagnostics["reachable_share"] = float(reachable.mean())
        diagnostics["distance_max"] = float(here[reachable].max(initial=0.0))
        return Advantages(value=episode + self.omega * step, diagnostics=diagnostics)

    def _distances(self, batch: StepBatch, anchors: Sets) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """d of each state [S], inf without a path, and of the state after each row [N], finite."""
        states = len(anchors.size)
        success, nowhere = states, states + 1  # two more nodes, shared by all groups; no edge leaves them
        won = succeeded(batch, self.success_reward)[batch.rollouts.label]
        target = at_next(batch, anchors.label, np.where(won, success, nowhere))
        distance = steps_to(success, anchors.label, target, states + 2)
        here = distance[:states]
        finite = np.where(np.isfinite(here), here, 0.0)[anchors.label]
        farthest = np.maximum.reduceat(finite[batch.groups.order], batch.groups.start)[batch.groups.label]
        there = distance[target]
        return here, np.where(np.isfinite(there), there, farthest + 1.0)
