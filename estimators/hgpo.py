"""HGPO: steps compared with steps of the same recent past, at several depths of it (2602.22817)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from estimators.algebra.returns import Penalty, at_previous, returns_to_go
from estimators.algebra.sets import STD_FLOOR, Norm, Sets, moments, relative
from estimators.base import Advantages, Needs, StepBatch
from estimators.grpo import Grpo
from estimators.options import check_options

Form = Literal["paper", "public"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hgpo:
    """HGPO (2602.22817):

        A   = sum_{k=0}^{depth} w_k * A_k
        A_k = (G - mean) / std
        w_k = (k + 1)^alpha / sum_l (l + 1)^alpha

        G          discounted return to go of the step
        mean, std  of G over the rows of one group and one context of depth k; std is the population's
        context    the state and the k states before it; near the start of a rollout there are fewer, and only contexts
                   of one length match

    A_k is undefined, and counts as 0, where the row is alone in its context or the context has no spread.

    form="public" with penalty="row" is the authors' public code (preset compat/verl_agent_hgpo), which made the
    published figures:

        A   = sum_k w_k * A_k / (sum_k w_k + 1e-6)    over the levels with A_k != 0
        w_k = (k + 2)^alpha

        A level k that reaches back before the start of the rollout is left out. With `base_group` the episode term of
        `Grpo`, counted by rows, is one more level of weight 1.

    Limiting cases:
        depth = 0, norm="mean": the step term of GiGPO.
    Assumes that the states before a state matter. A deep context is seldom shared.
    We differ: with `skip_undefined` the weights of a row's defined levels are rescaled to sum to 1. The public code
        standardises the rounding of equal returns; there we give 0.
    Diagnostics: `alone_at_k`, the share of rows that are alone in their context of depth k.
    Raises ValueError for an option out of range, and for options that `form` does not read.
    """

    norm: Norm = "mean_std"
    """Divide deviations by the standard deviation or not, at all depths alike."""
    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Discount of the return to go."""
    depth: Annotated[int, Ge(0)] = 2
    """Number of earlier states in the deepest context."""
    alpha: Annotated[float, Interval(ge=0, le=100)] = 1.0  # up to 100, so that the weights stay finite
    """Exponent of the weights (k + 1)^alpha: 0 weighs all depths alike, more favours deep contexts."""
    skip_undefined: bool = False
    """Whether levels without a value leave their weight to the others; False is the paper's formula."""
    penalty: Penalty = "return"
    """An invalid response costs `invalid_penalty` as a reward, or on its own row after returns are computed."""
    invalid_penalty: Annotated[float, Ge(0)] = 0.1
    """What an invalid response costs, in units of reward."""
    form: Form = "paper"
    """The paper's formula, or that of the authors' public code."""
    base_group: bool = False
    """Whether the episode term is one more level, of weight 1; for form="public"."""

    needs: ClassVar[Needs] = Needs(group_based=True)

    def __post_init__(self) -> None:
        check_options(self)
        if self.form == "public" and self.skip_undefined:
            raise ValueError(
                "skip_undefined=True has no effect with form='public', which skips levels by its own rule: "
                "set skip_undefined=False or form='paper'"
            )
        if self.form == "paper" and self.base_group:
            raise ValueError("base_group=True has no effect with form='paper': set base_group=False or form='public'")

    def __call__(self, batch: StepBatch, /) -> Advantages:
        return self._paper(batch) if self.form == "paper" else self._public(batch)

    def _paper(self, batch: StepBatch) -> Advantages:
        returns = returns_to_go(batch, self.gamma, self.penalty, self.invalid_penalty)
        weight = np.arange(1.0, self.depth + 2.0) ** self.alpha
        value, defined = np.zeros(len(batch)), np.zeros(len(batch))  # defined: the weight of each row's defined levels
        diagnostics: dict[str, float] = {}
        for k, sets in enumerate(contexts(batch, self.depth)):
            of = moments(sets, returns, self.norm, ddof=0)
            value += weight[k] * relative(returns, sets.label, of)
            defined += weight[k] * of.signal[sets.label]  # a value that is its set's mean is 0 and defined
            diagnostics[f"alone_at_{k}"] = _alone(sets)
        total = np.where(defined > 0.0, defined, 1.0) if self.skip_undefined else weight.sum()
        return Advantages(value=value / total, diagnostics=diagnostics)

    def _public(self, batch: StepBatch) -> Advantages:
        returns = returns_to_go(batch, self.gamma, self.penalty, self.invalid_penalty)
        value, total = np.zeros(len(batch)), np.zeros(len(batch))
        diagnostics: dict[str, float] = {}

        def add(level: NDArray[np.float64], weight: float) -> None:
            nonlocal value, total
            value += weight * level
            total += weight * (level != 0.0)

        if self.base_group:
            rows = Grpo(
                norm=self.norm,
                episode_stats="row",
                penalty=self.penalty,
                invalid_penalty=self.invalid_penalty,
                singleton="raw",
            )
            add(rows.episode(batch)[0], 1.0)
        for k, sets in enumerate(contexts(batch, self.depth)):
            level = relative(returns, sets.label, moments(sets, returns, self.norm, ddof=0))
            add(np.where(batch.time >= k, level, 0.0), (k + 2.0) ** self.alpha)
            diagnostics[f"alone_at_{k}"] = _alone(sets)
        return Advantages(value=value / (total + STD_FLOOR), diagnostics=diagnostics)


def _alone(sets: Sets) -> float:
    """The share of rows that are a set of one."""
    return float((sets.size[sets.label] == 1).mean())


def contexts(batch: StepBatch, depth: int) -> Iterator[Sets]:
    """Rows by (group, state, the k states before it) for k = 0..depth; each cuts the previous one further."""
    codes = np.unique(batch.state, return_inverse=True)[1] + 1  # 1.., so that 0 means "before the first step"
    sets = batch.groups
    for _ in range(depth + 1):
        sets = sets.split(codes)
        yield sets
        codes = at_previous(batch, codes, 0)
