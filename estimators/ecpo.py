"""ECPO: step credit per action, smaller where evidence is scarce or actions explain little (2606.05885)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from estimators.algebra.returns import returns_to_go
from estimators.algebra.sets import Sets, moments, size_report
from estimators.algebra.states import States, visits
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Ecpo(Grpo):
    """ECPO (2606.05885):

        A     = A_E + omega * rho(s) * A_act
        A_act = ((m * Q + kappa * V) / (m + kappa) - V) / F
        rho   = tanh(n / tau) * between / (between + within)

        A_E      the episode term of `Grpo`
        V        mean return to go of the n visits to state s
        Q        mean return to go of the m visits to s that took the action
        F        standard deviation of the returns of the visits with norm="mean_std", 1 with "mean"
        between  variance of Q over the visits
        within   variance of the returns around Q over the visits

    Limiting cases:
        omega = 0: GRPO.
        one action in every state: GRPO, since between = 0.
        rho = 1: variant "q" of `Bipace` with the same kappa over anchor groups, and 0 where s saw one action.
    Assumes that the scatter inside one action is the noise of the whole state. A state where one action only was tried
    gets no step credit.
    Reading: the division by F, so that one setting drives both levels as in GiGPO. tau = 2: the paper's value was not
        found. The gate rho is known to us from a published summary of the paper, where kappa is 2.
    Diagnostics: `flat_group_share`; the sizes of the anchor groups (`size_report`); `gate_mean`, the mean of rho over
        rows.
    Raises ValueError for an option out of range.
    """

    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Discount of the return to go."""
    omega: Annotated[float, Ge(0)] = 1.0
    """Weight of the step term."""
    kappa: Annotated[float, Ge(0)] = 2.0
    """Shrinks the value of rare actions towards the state's mean: the number of visits at which Q counts half."""
    tau: Annotated[float, Ge(1e-6)] = 2.0
    """Number of visits at which a state is trusted to tanh(1) = 76 %."""
    state: States = "observation"
    """What counts as one state: an equal observation, or an equal history of observations and actions."""

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        anchors = visits(batch, self.state)
        label = anchors.label
        returns = returns_to_go(batch, self.gamma, self.penalty, self.invalid_penalty)
        stats = moments(anchors, returns, self.norm)
        alike = anchors.split(batch.keys)
        m = alike.size[alike.label]
        action_value = alike.mean(returns)[alike.label]
        contrast = action_value - stats.mean[label]
        trusted = np.tanh(anchors.size / self.tau) * _between(anchors, contrast, returns - action_value)
        gate = np.where(stats.signal, trusted, 0.0)
        step = contrast * (m / (m + self.kappa)) / stats.scale[label]
        sizes = size_report(anchors, batch.groups)
        return Advantages(
            value=episode + self.omega * gate[label] * step,
            diagnostics={**diagnostics, **sizes, "gate_mean": float((gate * anchors.size).sum() / len(batch))},
        )


def _between(anchors: Sets, contrast: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """between / (between + within) of each set [S]; 1 where there is no variance."""
    between = anchors.sum(contrast * contrast)
    total = between + anchors.sum(noise * noise)
    return np.divide(between, total, out=np.ones_like(total), where=total > 0.0)
