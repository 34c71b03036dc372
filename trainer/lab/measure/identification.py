"""Which turns an estimator takes for those that decide: order and signs of its credit there, and leakage elsewhere."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from trainer.lab.measure.jackknife import BLOCKS, KEPT, ConfidenceInterval, jackknife
from trainer.lab.measure.rows import SampledRows
from trainer.lab.worlds.tabular import SUCCESS_REWARD, Floats, Tabular

ZERO = 1e-9 * SUCCESS_REWARD
"""An advantage that is not larger than this is 0."""

NO_CREDIT = 1e-9
"""Credit that is not larger than this is 0."""


class Identification:
    """Measures of agent-credit-bench (DOI 10.5281/zenodo.22178939), on the turns that decide and on the others.

    A row is decisive where some action that the policy may take in its state at its turn has an advantage other than 0.
    """

    def __init__(self, world: Tabular, rows: SampledRows) -> None:
        self._truth = world.advantage[rows.turn, rows.state, rows.action]  # [N]
        matters: NDArray[np.bool_] = (np.abs(world.advantage) > ZERO) & (world.policy > 0)  # [H, S, A]
        decisive: NDArray[np.bool_] = np.any(matters, axis=-1)  # [H, S]
        self._decisive = decisive[rows.turn, rows.state]
        self._neutral = np.abs(self._truth) <= ZERO
        self._block = rows.group // rows.per_block

    def measure(self, credit: Floats) -> dict[str, ConfidenceInterval]:
        """Fields of `TruthComparison` by name, from the credit e of every row [N], with A the true advantage.

            rank     Spearman's correlation of e and A over the decisive rows of a block, mean over blocks
            sign     share of the rows with A != 0 whose e has the sign of A; no credit has no sign
            leakage  sum of |e| over the rows with A = 0, as a share of the sum over all rows

        rank is NaN where a block has no spread of e or of A; sign without rows of A != 0; leakage without rows of
        A = 0, and without credit.
        """
        weight = (~self._neutral).astype(np.float64)
        right = (np.sign(credit) == np.sign(self._truth)) & (np.abs(credit) > NO_CREDIT)
        size = np.abs(credit)
        blocks = np.array([self._rank(credit, block) for block in range(BLOCKS)])
        leakage = self._share(size * self._neutral, size) if self._neutral.any() else np.full(1 + BLOCKS, np.nan)
        return {
            "rank": jackknife(KEPT @ blocks / KEPT.sum(1)),
            "sign": jackknife(self._share(right * weight, weight)),
            "leakage": jackknife(leakage),
        }

    def _rank(self, credit: Floats, block: int) -> float:
        rows = self._decisive & (self._block == block)
        ranks = [rankdata(np.round(value[rows], 9)) for value in (credit, self._truth)]
        first, second = (rank - rank.mean() if len(rank) else rank for rank in ranks)
        spread = float(np.sqrt((first @ first) * (second @ second)))
        return float(first @ second) / spread if spread > 0.0 else np.nan

    def _share(self, part: Floats, whole: Floats) -> Floats:
        """Sum of `part` over the sum of `whole`, of all rows and without each block in turn [1 + BLOCKS]."""
        parts, wholes = (KEPT @ np.bincount(self._block, value, BLOCKS) for value in (part, whole))
        return np.divide(parts, wholes, out=np.full_like(parts, np.nan), where=wholes > 0.0)
