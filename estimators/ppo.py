"""PPO: each turn compared with what a critic expected of it, by generalised advantage estimation (1506.02438)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from estimators.algebra.returns import gae, rewards
from estimators.algebra.sets import cut, moments, relative
from estimators.base import Advantages, Needs, StepBatch
from estimators.options import check_options

Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ppo:
    """GAE over the turns of a rollout (1506.02438 eq. 16; 1707.06347 eq. 11 and 12):

        A_t     = sum_k (gamma lam)^k delta_{t+k}
        delta_t = r_t + gamma V(s_{t+1}) - V(s_t)
        target  = A_t + V(s_t)

        V       what the critic says at the turn's prompt, before the update; 0 after the last turn
        target  what the critic learns

    Limiting cases:
        lam = 1: the discounted return to go less V (eq. 18).
        lam = 0: the error of one turn, delta (eq. 17).
        lam = gamma = 1 and all rewards at the end: with the group's mean return for V and whiten=False `Grpo` with
            norm="mean", with any constant for V `ReinforcePp` with episode_stats="row".
    Assumes that the critic knows the value of a state. Where it does not, lam < 1 takes its errors for credit.
    Reading: an episode that ends at its limit of turns ends, with V = 0: the limit is part of the task.
    We differ from the public GiGPO code: there GAE runs over the tokens of one response, whose reward is that of the
        whole episode, and stops at its end; here it goes from turn to turn. Rows count once each in the whitening,
        where the public code weighs them by their tokens.
    Diagnostics: `batch_std`, what the advantages are divided by.
    Raises ValueError for an option out of range, and for a batch without `values`.
    """

    gamma: Share = 1.0
    """Discount of a turn."""
    lam: Share = 0.95
    """How far to look before the critic is believed: 0 one turn, 1 to the end."""
    whiten: bool = True
    """Bring the batch's advantages to mean 0 and standard deviation 1, every row once."""
    invalid_penalty: Annotated[float, Ge(0)] = 0.1
    """What an invalid response costs, in units of reward."""

    needs = Needs(columns=frozenset({"values"}))

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        values = batch.needed("values", "ppo")
        advantage = gae(batch, rewards(batch, "return", self.invalid_penalty), values, self.gamma, self.lam)
        returns = advantage + values
        if not self.whiten:
            return Advantages(value=advantage, returns=returns)
        whole = cut(batch.rollouts.order, np.arange(len(batch)) == 0)
        stats = moments(whole, advantage, "mean_std")
        return Advantages(
            value=relative(advantage, whole.label, stats),
            returns=returns,
            diagnostics={"batch_std": float(stats.scale[0])},
        )
