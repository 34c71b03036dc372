"""TEMPO: the rise of the mean outcome of all rollouts with the same history, where histories branch (2509.18314)."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from estimators.algebra.returns import at_next
from estimators.algebra.sets import relative
from estimators.algebra.states import States, visits
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo(Grpo):
    """TEMPO, by turns in place of tokens (2509.18314):

        A    = A_E + omega * (V(h') - V(h))
        V(h) = mean of A_E over the rollouts that share the history h

        A_E  the episode term of `Grpo`
        h    what was seen and done until the step; h' the same after it
        V    is the rollout's own A_E at its end

    Limiting cases:
        omega = 0: GRPO.
        no shared history: GRPO, since V(h') = V(h).
        norm="mean", without A_E: the difference delta of `Gagpo` with gamma = 1, trace = 0 and state="history", where
            rewards come at the end.
    Assumes that rollouts part late: a history that no other rollout shares has no credit of its own.
    Reading: V is in units of A_E, so that both terms have one scale. `state="observation"` takes the mean over all
        visits to a state in place of a history.
    We differ: turns in place of tokens.
    Diagnostics: `flat_group_share`; `branch_share`, the share of rows after which V differs.
    Raises ValueError for an option out of range.
    """

    omega: Annotated[float, Ge(0)] = 1.0
    """Weight of the step term."""
    state: States = "history"
    """What V belongs to: an equal history of observations and actions, or an equal observation."""

    def __call__(self, batch: StepBatch, /) -> Advantages:
        returns, stats = self.compared(batch)
        # Without the row's own penalty: V is of rollouts.
        outcome = relative(returns.rollout[batch.rollouts.label], batch.groups.label, stats)
        shared = visits(batch, self.state)
        value = shared.mean(outcome)[shared.label]
        step = at_next(batch, value, outcome) - value
        episode = relative(returns.row, batch.groups.label, stats)
        return Advantages(
            value=episode + self.omega * step,
            diagnostics={
                "flat_group_share": stats.flat_share,
                "branch_share": float((abs(step) > 1e-9).mean()),
            },
        )
