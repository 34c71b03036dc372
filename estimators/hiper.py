"""HiPER: credit on two levels, for the turns inside a sub-goal and for the choice of sub-goals (2602.16165)."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from estimators.algebra.returns import at_next, discounted, explained_variance, rewards
from estimators.algebra.sets import whitened
from estimators.base import Advantages, Needs, StepBatch
from estimators.options import check_options

Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hiper:
    """Hierarchical advantage estimation (2602.16165) over the segments of a rollout, which its sub-goals cut:

        A       = A_low                        at a turn that keeps its sub-goal
        A       = A_low + omega * A_high       at a turn that chooses one
        A_low   = sum_k (gamma lam)^k delta_{t+k}         over the turns left of its segment
        delta_t = r_t + gamma V(s_{t+1}) - V(s_t)
        A_high  = sum_j lam_high^j gamma^{t_j - t_0} delta_j   over its segment and those after it
        delta_j = R_j + gamma^{d_j} V(s_{t_{j+1}}) - V(s_{t_j})
        target  = A_low + V, and A_high + V at a turn that chooses

        V        what the critic says at the turn's prompt, before the update; 0 after the last turn
        t_j      the turn that begins segment j; a rollout's first turn always begins one
        R_j, d_j rewards of segment j, discounted from its beginning, and its turns

    Limiting cases:
        one segment, omega = 0: `Ppo`, but for the first turn's target, which is R without lam.
        a segment for each turn: A_low = delta, and A_high is the GAE of `Ppo` with lam = lam_high.
    Assumes that a sub-goal is worth choosing for what its segment brings, and that a turn serves the sub-goal in force.
    Reading: the prompt of a turn shows the sub-goal in force, so V at a turn that keeps it is the paper's V_low(s, o);
        at a turn that chooses another, it stands for V_high(s).
    We differ: one number a turn, where the paper gives A_low to the tokens of the action and A_high to those of the
        sub-goal. There is no A_switch: it needs both values at one prompt, and there is one critic. The penalties for
        keeping a sub-goal or rewording it are left out; a scorer can pay them.
    Diagnostics: `switch_share`, the share of turns that choose a sub-goal, first turns left out; `segment_turns`, the
        mean turns of a segment.
    Raises ValueError for an option out of range, and for a batch without `values` or `switch`.
    """

    gamma: Annotated[float, Interval(ge=0.5, le=1)] = 1.0
    """Discount of a turn."""
    lam: Share = 0.95
    """How far to look inside a segment before the critic is believed."""
    lam_high: Share = 0.95
    """How far to look over segments before the critic is believed."""
    omega: Annotated[float, Ge(0)] = 1.0
    """Weight of the credit for choosing a sub-goal."""
    whiten: bool = True
    """Bring the advantages of each level to mean 0 and standard deviation 1, over the turns that have them."""
    invalid_penalty: Annotated[float, Ge(0)] = 0.1
    """What an invalid response costs, in units of reward."""

    needs = Needs(columns=frozenset({"values", "switch"}))

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        values = batch.needed("values", "hiper")
        begins = batch.needed("switch", "hiper") | (batch.time == 0)
        order = batch.rollouts.order
        starts = order[begins[order]]  # [K], by rollout and time
        reward = rewards(batch, "return", self.invalid_penalty)
        segments = _segments(batch, begins)
        low = discounted(segments, reward + self.gamma * at_next(batch, values, 0.0) - values, self.gamma * self.lam)
        high = self._high(batch, segments, starts, reward)
        returns = low + values
        returns[starts] = high + values[starts]
        advantage = whitened(low, order)[0] if self.whiten else low.copy()
        advantage[starts] += self.omega * (whitened(high, np.arange(len(starts)))[0] if self.whiten else high)
        later = batch.time > 0
        return Advantages(
            value=advantage,
            returns=returns,
            diagnostics={
                "switch_share": float(begins[later].mean()) if later.any() else 0.0,
                "segment_turns": len(batch) / len(starts),
                **explained_variance(values, discounted(batch, reward, self.gamma), order),
            },
        )

    def _high(
        self, batch: StepBatch, segments: StepBatch, starts: NDArray[np.int64], reward: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """A_high [K] of the segments that begin at the rows `starts` [K], which stand by rollout and time."""
        macro = StepBatch(
            group=batch.group[starts],
            trajectory=batch.trajectory[starts],
            time=np.arange(len(starts)) - np.flatnonzero(batch.time[starts] == 0)[batch.rollouts.label[starts]],
            reward=discounted(segments, reward, self.gamma)[starts],
            invalid=batch.invalid[starts],
            state=batch.state[starts],
            action=batch.action[starts],
        )
        assert batch.values is not None
        value = batch.values[starts]
        turns = segments.rollouts.size[segments.rollouts.label[starts]]
        error = macro.reward + self.gamma**turns * at_next(macro, value, 0.0) - value
        weight = self.gamma ** batch.time[starts].astype(np.float64)  # so that one factor, lam_high, is left
        return discounted(macro, weight * error, self.lam_high) / weight


def _segments(batch: StepBatch, begins: NDArray[np.bool_]) -> StepBatch:
    """The same rows, each segment a rollout of its own. begins: bool [N], the rows that begin one."""
    order = batch.rollouts.order
    segment = np.empty(len(batch), np.int64)
    segment[order] = np.cumsum(begins[order])
    begun = batch.time[order][begins[order]]  # the time at which each segment begins
    return replace(batch, trajectory=segment, time=batch.time - begun[segment - 1])
