"""PPO: turns, or tokens, compared with what a critic expected, by generalised advantage estimation (1506.02438)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from estimators.algebra.returns import discounted, explained_variance, gae, rewards, token_gae, token_order
from estimators.algebra.sets import whitened
from estimators.base import Advantages, Needs, StepBatch, Unit
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

    With gae="token" the same sum goes over the tokens of all responses of a rollout, from the last token of a turn to
    the first of the next. V is then what the critic says before each token, the reward of a turn is that of its last
    token, lam is for a token, and gamma still for a turn.

    Limiting cases:
        lam = 1: the discounted return to go less V (eq. 18).
        lam = 0: the error of one turn, delta (eq. 17).
        lam = gamma = 1 and all rewards at the end: with the group's mean return for V and whiten=False `Grpo` with
            norm="mean", with any constant for V `ReinforcePp` with episode_stats="row".
        gae="token" with responses of one token: gae="turn".
    Assumes that the critic knows the value of a state. Where it does not, lam < 1 takes its errors for credit.
    Reading: an episode that ends at its limit of turns ends, with V = 0: the limit is part of the task.
    We differ from the public GiGPO code: there GAE runs over the tokens of one response, whose reward is that of the
        whole episode, and stops at its end; here it goes on to the next turn. With gae="turn" rows count once each in
        the whitening, where the public code weighs them by their tokens, as gae="token" does.
    Diagnostics: `batch_std`, what the advantages are divided by; `explained_variance`, the share of the variance of the
        returns to go that V explains. The target would not do: with lam < 1 V is a part of it.
    Raises ValueError for an option out of range, and for a batch without `values`.
    """

    gae: Unit = "turn"
    """What the critic values and credit is given to: "turn" a whole response, "token" each token of it."""
    gamma: Share = 1.0
    """Discount of a turn."""
    lam: Share = 0.95
    """How far to look before the critic is believed: 0 one turn, or token, and 1 to the end."""
    whiten: bool = True
    """Bring the batch's advantages to mean 0 and standard deviation 1, every row, or token, once."""
    invalid_penalty: Annotated[float, Ge(0)] = 0.1
    """What an invalid response costs, in units of reward."""

    @property
    def needs(self) -> Needs:
        return Needs(columns=frozenset({"values"} if self.gae == "turn" else {"response_tokens", "token_values"}))

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        reward = rewards(batch, "return", self.invalid_penalty)
        to_go = discounted(batch, reward, self.gamma)
        if self.gae == "turn":
            values = batch.needed("values", "ppo")
            advantage = gae(batch, reward, values, self.gamma, self.lam)
            credit, diagnostics = self._whitened(advantage, batch.rollouts.order)
            diagnostics |= explained_variance(values, to_go, batch.rollouts.order)
            return Advantages(value=credit, returns=advantage + values, diagnostics=diagnostics)
        values = batch.needed("token_values", "ppo")
        advantage = token_gae(batch, reward, values, self.gamma, self.lam)
        order, lens = token_order(batch), batch.needed("response_tokens", "ppo")
        credit, diagnostics = self._whitened(advantage, order)
        diagnostics |= explained_variance(values, np.repeat(to_go, lens), order)
        mean = np.add.reduceat(credit, np.cumsum(lens) - lens) / lens
        return Advantages(value=mean, token_value=credit, returns=advantage + values, diagnostics=diagnostics)

    def _whitened(
        self, advantage: NDArray[np.float64], order: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], dict[str, float]]:
        """The advantages as the options say, and what they were divided by. order: along which they are summed."""
        if not self.whiten:
            return advantage, {}
        credit, scale = whitened(advantage, order)
        return credit, {"batch_std": scale}
