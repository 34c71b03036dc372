"""GiGPO: GRPO between rollouts, and again between the steps that stood in the same state (2505.10978)."""

from dataclasses import dataclass
from typing import ClassVar

from estimators.base import Advantages, StepBatch
from estimators.grpo import episode_advantage
from estimators.options import EpisodeStats, Penalty, check_options
from estimators.returns import returns_to_go
from estimators.sets import Norm, moments, relative, size_report


@dataclass(frozen=True, slots=True, kw_only=True)
class Gigpo:
    """A = A_E + omega * A_S (2505.10978 eq. 3, 5-8).

    A_E as `Grpo`. Rows with equal (group, state) form an anchor group; A_S = (G - mean) / F over it, G the return to
    go, F the std or 1. Alone in its state a row has A_S = 0, so without repeated states this is GRPO.
    Diagnostics: `flat_group_share` and the anchor groups' sizes (`size_report`).
    """

    gamma: float = 0.95
    omega: float = 1.0
    norm: Norm = "mean_std"
    episode_stats: EpisodeStats = "trajectory"
    penalty: Penalty = "return"
    invalid_penalty: float = 0.1

    requires: ClassVar[frozenset[str]] = frozenset()
    group_based: ClassVar[bool] = True
    action_key: ClassVar[str] = "action"

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = episode_advantage(
            batch, self.norm, self.episode_stats, self.penalty, self.invalid_penalty
        )
        returns = returns_to_go(batch, self.gamma, self.penalty, self.invalid_penalty)
        anchors = batch.groups.split(batch.state)
        step = relative(returns, anchors.label, moments(anchors, returns, self.norm))
        return Advantages(
            value=episode + self.omega * step,
            diagnostics={**diagnostics, **size_report(anchors, batch.groups)},
        )
