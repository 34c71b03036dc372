"""GRPO: a rollout's return compared with the returns of its group (2402.03300)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from estimators.algebra.returns import EpisodeReturns, EpisodeStats, Paid, Penalty, episode_returns, group_moments
from estimators.algebra.sets import Moments, Norm, Singleton, relative
from estimators.base import Advantages, Needs, StepBatch
from estimators.options import check_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Grpo:
    """GRPO, one number for every step of a rollout (2402.03300 sec. 4.1.2):

        A = (R - mean_g) / std_g

        R              the rollout's undiscounted return
        mean_g, std_g  mean and sample standard deviation of R over the group

    Limiting cases:
        norm="mean" is Dr. GRPO (2503.20783): no division by std_g.
    Assumes that all steps of a rollout deserve equal credit.
    We differ: `episode_stats="row"`, `penalty="row"` and `singleton="raw"` reproduce the public GiGPO code (presets
        under compat/); the defaults are the papers'.
    Diagnostics: `flat_group_share`, the share of groups without spread of R.
    Raises ValueError for an option out of range.

    Estimators that add a step term to A are subclasses and share `episode`.
    """

    norm: Norm = "mean_std"
    """Divide deviations by the standard deviation or not, at all levels alike."""
    episode_stats: EpisodeStats = "trajectory"
    """Count a rollout once in the group's statistics, or once per step row."""
    penalty: Penalty = "return"
    """An invalid response costs `invalid_penalty` as a reward, or on its own row after returns are computed."""
    invalid_penalty: Annotated[float, Ge(0)] = 0.1
    """What an invalid response costs, in units of reward."""
    singleton: Singleton = "zero"
    """What a set of one is worth in the episode term: 0, or its raw return as in the public GiGPO code."""
    episode_rewards: Paid = "all"
    """Whose rewards the episode term holds: all, or the world's alone, so that a scorer moves the step term only."""

    @property
    def needs(self) -> Needs:
        return Needs(group_based=True)

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        value, diagnostics = self.episode(batch)
        return Advantages(value=value, diagnostics=diagnostics)

    def episode(self, batch: StepBatch) -> tuple[NDArray[np.float64], dict[str, float]]:
        """The episode term A_E [N] of the step-level estimators (2505.10978 eq. 3), and its diagnostics."""
        returns, stats = self.compared(batch)
        return relative(returns.row, batch.groups.label, stats), {"flat_group_share": stats.flat_share}

    def compared(self, batch: StepBatch, bonus: NDArray[np.float64] | None = None) -> tuple[EpisodeReturns, Moments]:
        """R, with the `bonus` [M] of each rollout where there is one, and its moments over each group."""
        returns = episode_returns(batch, self.penalty, self.invalid_penalty, self.episode_rewards)
        if bonus is not None:
            returns = EpisodeReturns(rollout=returns.rollout + bonus, row=returns.row + bonus[batch.rollouts.label])
        return returns, group_moments(batch, returns, self.norm, self.episode_stats, self.singleton)
