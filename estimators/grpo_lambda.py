"""GRPO-lambda: GRPO's credit handed back to earlier turns by an eligibility trace (2510.00194)."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo

Style = Literal["recent", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoLambda(Grpo):
    """GRPO-lambda, by turns in place of tokens (2510.00194 sec. 3.2, eq. 2):

        A_l     = max(A_E, -clamp) * sum_{t = l}^{T-1} w(t, l)
        w(t, l) = x^(t - l)                  style="recent"
        w(t, l) = max(x^(t - l), x^l)        style="both"

        A_E  the episode term of `Grpo`, which stands for the temporal difference of every turn t
        w    the trace that turn l has left at turn t
        x    gamma * trace
        T    turns of the rollout

    Limiting cases:
        trace = 0, clamp=None: GRPO with "recent".
        trace = 1, gamma = 1: A_E times the turns that are left.
    Assumes that the outcome says something of every turn, and most of it of the turns before.
    Reading: the paper weighs log-probabilities inside the ratio of PPO; this is the gradient of that at ratio 1. trace
        and clamp are from public re-implementations and summaries, since the paper's own code was not found.
    We differ: turns in place of tokens, and each turn's ratio is clipped on its own.
    Diagnostics: `flat_group_share`; `clamped_share`, the share of rows with A_E below -clamp.
    Raises ValueError for an option out of range.
    """

    gamma: Annotated[float, Interval(ge=0, le=1)] = 1.0
    """Discount per turn."""
    trace: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Decay of the trace per turn (lambda)."""
    style: Style = "recent"
    """Whose trace decays: "recent" with the distance of two turns; "both" also keeps the first turns' trace up."""
    clamp: Annotated[float, Ge(0)] | None = 0.1
    """Largest blame, in units of A_E, since blame is multiplied by the trace; None: no limit."""

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        blamed = np.zeros(len(batch), np.bool_) if self.clamp is None else episode < -self.clamp
        kept = episode if self.clamp is None else np.maximum(episode, -self.clamp)
        diagnostics["clamped_share"] = float(blamed.mean())
        return Advantages(value=kept * self._weights(batch), diagnostics=diagnostics)

    def _weights(self, batch: StepBatch) -> NDArray[np.float64]:
        """Sum of w(t, l) over the turns t from each row's own l on [N]."""
        decay = self.gamma * self.trace
        left = batch.rollouts.size[batch.rollouts.label] - batch.time
        if self.style == "recent":
            return _geometric(decay, left)
        # x^(t - l) is the larger one up to t = 2 l, x^l from there on.
        near = np.minimum(batch.time + 1, left)
        return _geometric(decay, near) + (left - near) * decay**batch.time


def _geometric(ratio: float, count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum of ratio^k over k = 0 .. count - 1 [N]."""
    powers: NDArray[np.float64] = np.power(ratio, np.arange(count.max(), dtype=np.float64))
    return np.cumsum(powers)[count - 1]
