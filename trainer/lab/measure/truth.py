"""Credit against the true advantage Q - V: bias, variance and direction by group size, with intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np

from estimators import Estimator
from estimators.base import calibrated
from trainer.lab.measure.gradients import Gradients
from trainer.lab.measure.identification import Identification
from trainer.lab.measure.jackknife import BLOCKS, KEPT, ConfidenceInterval, interval, jackknife
from trainer.lab.measure.rows import SampledRows
from trainer.lab.measure.scored import rewarded
from trainer.lab.measure.squares import Cells
from trainer.lab.worlds.tabular import Tabular, sample
from trainer.scorers.base import Scorer
from trainer.setup.credit import advantages_of

WITH_SCORER = " + "
"""Stands in a row's name between the estimator's label and the scorer's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthComparison:
    """One estimator in one world at one group size: its credit e against the true advantage A.

    A learning rate can make up for the scale of credit. So e is multiplied by the one factor c that brings m, its mean
    over all groups in a cell (task, turn, state, action), nearest to A. The rest is measured in units of E[A^2]:

        bias     = E[(c m - A)^2] / E[A^2]
        variance = E[(c e - c m)^2] / E[A^2]
        error    = E[(c e - A)^2] / E[A^2] = bias + variance

    error is 1 for no credit at all (c = 0), and 0 for credit in proportion to A. All three are NaN where the mean
    credit is statistically 0, so that there is no c, and where every row has A = 0. `squares.split` estimates them.
    """

    world: str
    """The world's name."""

    estimator: str
    """The estimator's label; with a scorer's step rewards, the scorer's follows ("grpo + milestones")."""

    size: int
    """Rollouts in a group."""

    groups: int
    """Groups drawn."""

    rows: int
    """Rows drawn."""

    error: ConfidenceInterval
    """Mean squared error of a row, in units of E[A^2]."""

    bias: ConfidenceInterval
    """Squared error of the mean over all groups, in [0, 1]: what no number of groups mends."""

    variance: ConfidenceInterval
    """Spread around that mean from group to group, in units of E[A^2]; it averages out over groups."""

    correlation: ConfidenceInterval
    """Uncentred correlation of e and A over rows, E[e A] / sqrt(E[e^2] E[A^2]); NaN where either is 0 everywhere.

    1 - correlation^2 is the error with the c of least squares on rows, which shrinks noisy credit towards 0.
    """

    alignment: ConfidenceInterval
    """Mean cosine between the policy gradient that one group gives and the true gradient of its task, in [-1, 1].

    A group without credit counts as 0. A task without a true gradient is left out; NaN where no task has one.
    """

    mean_cosine: ConfidenceInterval
    """Cosine between the mean gradient of all groups and the true one: what no number of groups mends."""

    gradient_error: ConfidenceInterval
    """Length of the difference between the mean gradient and the true one, as a share of the true one's (c = 1)."""

    gradient_variance: ConfidenceInterval
    """Spread of one group's gradient around the mean, scaled to the true one, in units of its squared length."""

    rank: ConfidenceInterval
    """Spearman's correlation of e and A over the rows of turns that decide."""

    sign: ConfidenceInterval
    """Share of the rows with A other than 0 whose credit has the sign of A."""

    leakage: ConfidenceInterval
    """Absolute credit of the rows with A = 0, as a share of all absolute credit; NaN without such rows."""

    scale: ConfidenceInterval
    """The factor c = E[e A] / E[m^2]; NaN where the mean credit is statistically 0."""

    raw_error: ConfidenceInterval
    """The error with c = 1, in units of reward squared: of use where e is in units of reward (norm=mean)."""

    raw_bias: ConfidenceInterval
    """The bias with c = 1, in units of reward squared."""

    raw_variance: ConfidenceInterval
    """The variance with c = 1, in units of reward squared."""

    covered: float
    """Share of the rows whose cell two or more groups have visited; only these can be split into bias and variance."""

    signal: float
    """E[A^2] over all rows, in units of reward squared."""

    layouts: tuple["TruthComparison", ...] = ()
    """The same of every layout, where these numbers are means over several."""


NUMBERS = tuple(field.name for field in fields(TruthComparison) if field.type is ConfidenceInterval)
"""The numbers of a comparison that have an interval."""


def over_layouts(world: str, layouts: Sequence[TruthComparison]) -> TruthComparison:
    """Means over the layouts of a world, whose intervals cover other layouts and other policies.

    With L layouts, half = t(0.975, L - 1) std / sqrt(L). A layout without a number is left out of its mean.
    """
    first = layouts[0]

    numbers: dict[str, Any] = {name: interval([getattr(layout, name).value for layout in layouts]) for name in NUMBERS}
    return replace(
        first,
        world=world,
        groups=sum(layout.groups for layout in layouts),
        rows=sum(layout.rows for layout in layouts),
        covered=float(np.mean([layout.covered for layout in layouts])),
        signal=float(np.mean([layout.signal for layout in layouts])),
        layouts=tuple(layouts),
        **numbers,
    )


def compare_with_truth(
    world: Tabular,
    estimators: Mapping[str, Estimator],
    *,
    size: int,
    rollouts: int,
    rng: np.random.Generator,
    scorers: Mapping[str, Scorer] = MappingProxyType({}),
) -> Iterator[TruthComparison]:
    """One comparison for each estimator, and for each with the step rewards of each scorer ("gigpo + milestones").

    All are on the same groups of `size` rollouts.

    `rollouts` in all are drawn, rounded up so that every block has every task equally often.
    """
    rounds = -(-rollouts // (BLOCKS * size * len(world.starts)))
    groups = rounds * len(world.starts)  # of one block
    blocks = [sample(world, groups=groups, size=size, rng=rng) for _ in range(BLOCKS)]
    rows = SampledRows.of(blocks, groups)
    cells, gradients, identification = Cells(world, rows), Gradients(world, rows), Identification(world, rows)
    batches = {"": [block.batch for block in blocks]}
    batches |= {
        f"{WITH_SCORER}{label}": [rewarded(world, block.batch, by) for block in blocks] for label, by in scorers.items()
    }
    for (name, estimator), (by, block_batches) in product(estimators.items(), batches.items()):
        ready = calibrated(estimator, block_batches[0])
        credit = np.concatenate([advantages_of(ready, batch).value for batch in block_batches])
        yield TruthComparison(
            world=world.name,
            estimator=f"{name}{by}",
            size=size,
            groups=groups * BLOCKS,
            rows=len(credit),
            alignment=jackknife(KEPT @ gradients.alignment(credit) / KEPT.sum(1)),
            covered=cells.covered,
            signal=float(np.mean(np.square(np.concatenate([block.truth for block in blocks])))),
            **cells.errors(credit),  # pyright: ignore[reportArgumentType]
            **gradients.means(credit, size),
            **identification.measure(credit),
        )
