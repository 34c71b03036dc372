"""Bias and variance of credit around the true advantage, from sums of squares in cells."""

from dataclasses import dataclass, fields

import numpy as np

from trainer.lab.measure.jackknife import BLOCKS, KEPT, ConfidenceInterval, jackknife
from trainer.lab.measure.rows import SampledRows
from trainer.lab.worlds.tabular import Floats, Tabular

NUMBERS = ("error", "bias", "variance", "correlation", "scale", "raw_error", "raw_bias", "raw_variance")
"""What `split` computes; fields of `truth.TruthComparison`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellSums:
    """Sums over groups g for each of C cells, float64 [C] each (or [BLOCKS, C] where they are kept by block).

    n_g is the number of rows that group g has in the cell, e_g the sum of their credit.
    """

    n: Floats
    """Sum of n_g: the rows in the cell."""

    e: Floats
    """Sum of e_g: the credit of these rows."""

    nn: Floats
    """Sum of n_g^2."""

    ee: Floats
    """Sum of e_g^2."""

    square: Floats
    """Sum over rows of their squared credit."""

    def weighted(self, weight: Floats) -> "CellSums":
        """One weighted sum over the blocks, [C], of sums kept by block, [BLOCKS, C]."""
        return CellSums(**{column.name: weight @ getattr(self, column.name) for column in fields(self)})


def split(sums: CellSums, truth: Floats) -> dict[str, float]:
    """`NUMBERS` by name, from the sums and the true advantage A [C] of each cell.

    E is the mean over the rows of cells that two or more groups have visited; the rows of other cells are left out.
    With credit e and m, the mean credit of the row's cell over all groups:

        energy      = E[A^2]
        scale c     = E[e A] / E[m^2]
        bias        = E[(c m - A)^2] / energy = 1 - c E[e A] / energy
        variance    = c^2 (E[e^2] - E[m^2]) / energy
        error       = bias + variance
        correlation = E[e A] / sqrt(E[e^2] energy)

        raw_bias     = E[m^2] - 2 E[e A] + energy        (c = 1, in units of reward squared)
        raw_variance = E[e^2] - E[m^2]
        raw_error    = raw_bias + raw_variance

    In a cell, m^2 is estimated from products of the sums of different groups:

        m^2 = (e^2 - ee) / (n^2 - nn)

    The square of a mean would contain a part of the variance, and the rows of one group share a baseline, so they are
    not independent. Limiting cases:

        no cell with two groups           all are NaN
        mean credit statistically 0       (estimate of E[m^2] <= 0) scale, error, bias and variance are NaN
        every row has A = 0               error, bias, variance and correlation are NaN
        every row has credit 0            the case before the last, and correlation is NaN
    """
    pairs = sums.n * sums.n - sums.nn
    shared = pairs > 0.5  # counts are whole numbers
    rows = sums.n[shared].sum()
    if not rows:
        return dict.fromkeys(NUMBERS, np.nan)
    square = float(sums.square[shared].sum() / rows)
    mean = float((sums.n[shared] * (sums.e[shared] ** 2 - sums.ee[shared]) / pairs[shared]).sum() / rows)  # E[m^2]
    product = float((sums.e[shared] * truth[shared]).sum() / rows)
    energy = float((sums.n[shared] * truth[shared] ** 2).sum() / rows)
    scale = product / mean if mean > 0.0 else np.nan
    unit = energy if energy > 0.0 else np.nan
    bias, variance = 1.0 - product * scale / unit, scale * scale * (square - mean) / unit
    raw_bias, raw_variance = mean - 2.0 * product + energy, square - mean
    correlation = product / np.sqrt(square * unit) if square > 0.0 else np.nan
    raw = (raw_bias + raw_variance, raw_bias, raw_variance)
    return dict(zip(NUMBERS, (bias + variance, bias, variance, correlation, scale, *raw), strict=True))


class Cells:
    """The rows in C cells (task, turn, state, action), each with one true advantage.

    P is the number of pairs (group, cell) that have rows. Whatever depends on the rows alone is sorted here once, for
    all estimators.
    """

    def __init__(self, world: Tabular, rows: SampledRows) -> None:
        shape = (len(world.starts), *world.advantage.shape)
        cells, cell = np.unique(
            np.ravel_multi_index((rows.task, rows.turn, rows.state, rows.action), shape), return_inverse=True
        )
        pairs, self._pair = np.unique(rows.group * len(cells) + cell, return_inverse=True)  # pair of each row [N]
        group, self._cell = np.divmod(pairs, len(cells))  # [P]
        self._block_cell = group // rows.per_block * len(cells) + self._cell  # [P], 0 <= index < BLOCKS * C
        self._count = np.bincount(self._pair).astype(np.float64)  # rows of each pair [P]
        self.truth: Floats = world.advantage.reshape(-1)[cells % world.advantage.size]  # [C]

    @property
    def covered(self) -> float:
        """Share of the rows whose cell two or more groups have visited."""
        groups, rows = np.bincount(self._cell), np.bincount(self._cell, self._count)
        return float(rows[groups > 1].sum() / rows.sum())

    def errors(self, credit: Floats) -> dict[str, ConfidenceInterval]:
        """`NUMBERS` by name, with intervals, from the credit of every row [N]."""
        by_block = self._sums(credit)
        splits = [split(by_block.weighted(weight), self.truth) for weight in KEPT]
        return {name: jackknife(np.array([numbers[name] for numbers in splits])) for name in NUMBERS}

    def _sums(self, credit: Floats) -> CellSums:
        """By block, [BLOCKS, C]."""
        e: Floats = np.bincount(self._pair, credit).astype(np.float64)
        n, cells = self._count, len(self.truth)

        def by_block(value: Floats) -> Floats:
            return np.bincount(self._block_cell, value, BLOCKS * cells).reshape(BLOCKS, cells).astype(np.float64)

        return CellSums(
            n=by_block(n),
            e=by_block(e),
            nn=by_block(n * n),
            ee=by_block(e * e),
            square=by_block(np.bincount(self._pair, credit * credit).astype(np.float64)),
        )
