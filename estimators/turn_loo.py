"""Leave-one-out by turns: a return minus the mean return of the siblings that are still playing."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from estimators.algebra.returns import Penalty, episode_returns
from estimators.algebra.sets import Singleton, moments, relative
from estimators.base import Advantages, Needs, StepBatch
from estimators.options import check_options


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLoo:
    """Leave-one-out among the rollouts that take the turn (agent-credit-bench, 10.5281/zenodo.22178939):

        A_i,t = R_i - mean_{j != i} R_j = n / (n - 1) * (R_i - mean)

        R_i   undiscounted return of rollout i
        mean  of R over the n rollouts of the group that are longer than t

    Limiting cases:
        rollouts of one length: `Rloo`.
        no other rollout takes the turn: R_i itself, or 0 with singleton="zero".
    Assumes that all steps of a rollout deserve equal credit. The baseline is of the rollouts that got as far: where
    failures play longer than successes, it falls with the turn.
    Diagnostics: `alone_share`, the share of rows whose turn no other rollout of the group takes.
    Raises ValueError for an option out of range.
    """

    penalty: Penalty = "return"
    """An invalid response costs `invalid_penalty` as a reward, or on its own row after returns are computed."""
    invalid_penalty: Annotated[float, Ge(0)] = 0.1
    """What an invalid response costs, in units of reward."""
    singleton: Singleton = "raw"
    """What a row is worth whose turn no sibling takes: its raw return as in the source, or 0."""

    needs: ClassVar[Needs] = Needs(group_based=True)

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        returns = episode_returns(batch, self.penalty, self.invalid_penalty)
        turns = batch.groups.split(batch.time)  # [G * T], the rollouts that take each turn
        counted = returns.rollout[batch.rollouts.label]
        stats = moments(turns, counted, "mean", singleton=self.singleton)
        factor = np.where(turns.size > 1, turns.size / np.maximum(turns.size - 1, 1), 1.0)
        value = factor[turns.label] * relative(counted, turns.label, stats)
        own = np.where(stats.signal[turns.label], returns.row - counted, 0.0)  # the row's own penalty
        return Advantages(value=value + own, diagnostics={"alone_share": float((turns.size[turns.label] == 1).mean())})
