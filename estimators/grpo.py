"""GRPO: a rollout is as good as its return stands among its siblings' (2402.03300; norm="mean": 2503.20783)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.returns import episode_returns, group_moments
from estimators.algebra.sets import Lone, Norm, relative
from estimators.base import Advantages, StepBatch
from estimators.options import EpisodeStats, Penalty, check_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Grpo:
    """A = (R - mean_g) / std_g, the same for every step of a rollout (2402.03300 sec. 4.1.2).

    Assumes that a rollout's steps deserve equal credit. Estimators that add a step term to it are its subclasses.
    `episode_stats="row"`, `penalty="row"` and `lone="raw"` are what the public GiGPO code does (configs: compat).
    Diagnostics: `flat_group_share`, groups without spread of R.
    """

    norm: Norm = "mean_std"
    episode_stats: EpisodeStats = "trajectory"
    penalty: Penalty = "return"
    invalid_penalty: float = 0.1
    lone: Lone = "zero"

    group_based: ClassVar[bool] = True

    @property
    def requires(self) -> frozenset[str]:
        return frozenset()

    @property
    def action_key(self) -> str:
        return "action"

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        value, diagnostics = self.episode(batch)
        return Advantages(value=value, diagnostics=diagnostics)

    def episode(self, batch: StepBatch) -> tuple[NDArray[np.float64], dict[str, float]]:
        """A_E [N], the episode term that the step-level estimators share (2505.10978 eq. 3), and its diagnostics."""
        returns = episode_returns(batch, self.penalty, self.invalid_penalty)
        stats = group_moments(batch, returns, self.norm, self.episode_stats, self.lone)
        value = relative(returns.row, batch.groups.label, stats)
        return value, {"flat_group_share": float((~stats.signal).mean())}
