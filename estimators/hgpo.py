"""HGPO: steps compared with steps of the same recent past, over several depths of it (2602.22817)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from estimators.algebra.returns import at_previous, returns_to_go
from estimators.algebra.sets import Norm, Sets, moments, relative
from estimators.base import Advantages, StepBatch
from estimators.options import Penalty, check_options

Silent = Literal["count", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hgpo:
    """A = sum_k w_k A_k over depths k = 0..depth, w_k = (k + 1)^alpha / sum_l (l + 1)^alpha (2602.22817).

    The context of depth k is the state and the k states before it; near the start of a rollout there are fewer, and
    only contexts of one length match. A_k = (G - mean) / std over the rows of one group and context, with the
    population's std; alone or without spread it is 0, silent. No episode term. Assumes that what led to a state
    matters; a deep context is seldom shared. silent="count" is the formula: a silent level takes its share of the
    weight; "skip", as in the authors' public code, divides by the weights of the levels that speak in that row (that
    code weighs them 2 : 3 : 4, we 1 : 2 : 3). depth=0 is GiGPO's step term but for the std.
    Diagnostics: `alone_at_K`, the share of rows with no partner at depth K.
    """

    norm: Norm = "mean_std"
    gamma: float = 0.95
    depth: int = 2
    alpha: float = 1.0
    silent: Silent = "count"
    penalty: Penalty = "return"
    invalid_penalty: float = 0.1

    group_based: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        returns = returns_to_go(batch, self.gamma, self.penalty, self.invalid_penalty)
        weight = np.arange(1.0, self.depth + 2.0) ** self.alpha
        value, spoken = np.zeros(len(batch)), np.zeros(len(batch))
        diagnostics: dict[str, float] = {}
        for k, sets in enumerate(contexts(batch, self.depth)):
            level = relative(returns, sets.label, moments(sets, returns, self.norm, ddof=0))
            value += weight[k] * level
            spoken += weight[k] * (level != 0.0)
            diagnostics[f"alone_at_{k}"] = float((sets.size[sets.label] == 1).mean())
        total = weight.sum() if self.silent == "count" else np.where(spoken > 0.0, spoken, 1.0)
        return Advantages(value=value / total, diagnostics=diagnostics)


def contexts(batch: StepBatch, depth: int) -> Iterator[Sets]:
    """Rows by (group, state and the k states before it) for k = 0..depth; each cuts the one before it further."""
    codes = np.unique(batch.state, return_inverse=True)[1] + 1  # 1.., which leaves 0 for "before the first step"
    sets = batch.groups
    for _ in range(depth + 1):
        sets = sets.split(codes)
        yield sets
        codes = at_previous(batch, codes, 0)
