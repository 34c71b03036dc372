"""GraphGPO: steps by how near they come to success on the group's merged state graph (2605.26684)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.graph import steps_to
from estimators.algebra.returns import at_next, succeeded
from estimators.algebra.sets import Sets, moments, relative
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Graphgpo(Grpo):
    """A = A_E + omega * A_S, A_S = success_reward * decay^(d(s') + 1) normalised over the steps from one state.

    d(s) is the number of steps on the shortest observed way from s to a success of the group (2605.26684 eq. 4); a
    state without one counts as one farther than the farthest with one; a group without success has A_S = 0. decay
    0.1 for ALFWorld, 0.2 for WebShop, 0.8 for Sokoban. Assumes deterministic transitions: one lucky way sets the
    distance of all states on it. With decay 0.1 states six steps and more from success differ by less than the 1e-6
    that counts as spread. A rollout's last step leads to success or, failed, to no state (reading: what it saw last
    is no column).  Diagnostics: `flat_group_share`, `reachable_share` of states, `distance_max`.
    """

    omega: float = 1.0
    decay: float = 0.1
    success_reward: float = 10.0

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        anchors = batch.anchors
        here, there = self._distances(batch, anchors)
        credit = self.success_reward * self.decay ** (there + 1.0)
        step = relative(credit, anchors.label, moments(anchors, credit, self.norm))
        reachable = np.isfinite(here)
        diagnostics["reachable_share"] = float(reachable.mean())
        diagnostics["distance_max"] = float(here[reachable].max(initial=0.0))
        return Advantages(value=episode + self.omega * step, diagnostics=diagnostics)

    def _distances(self, batch: StepBatch, anchors: Sets) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Steps to success from each state [S] (inf: no way) and from the state after each row [N] (finite)."""
        states = len(anchors.size)
        success, nowhere = states, states + 1  # two more nodes; groups share them, and no way leads out of them
        won = succeeded(batch, self.success_reward)[batch.rollouts.label]
        target = at_next(batch, anchors.label, np.where(won, success, nowhere))
        distance = steps_to(success, anchors.label, target, states + 2)
        here = distance[:states]
        known = np.where(np.isfinite(here), here, 0.0)[anchors.label]
        farthest = np.maximum.reduceat(known[batch.groups.order], batch.groups.start)[batch.groups.label]
        there = distance[target]
        return here, np.where(np.isfinite(there), there, farthest + 1.0)
