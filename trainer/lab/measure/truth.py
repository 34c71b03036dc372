"""How far credit is from the true advantage Q - V: bias, variance and direction, by group size, with bands."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.stats import t as student

from estimators import Estimator
from estimators.base import calibrated
from trainer.lab.worlds.tabular import Floats, Ints, Sample, Tabular, sample, true_gradient

BLOCKS = 20  # the groups of one measurement fall into so many equal parts; leaving out each in turn gives the bands
SQUARES = ("error", "bias", "variance", "correlation", "scale", "raw_error", "raw_bias", "raw_variance")
KEPT = np.vstack([np.ones(BLOCKS), 1.0 - np.eye(BLOCKS)])  # all blocks, then all but each [1 + BLOCKS, BLOCKS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number and half the width of its 95 % interval."""

    value: float
    half: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthError:
    """One estimator in one world at one group size: its credit e against the true advantage A, over the rows drawn.

    All but the raw numbers are free of scale, which a learning rate can make up for. e is multiplied by the c that
    brings its mean credit nearest to A, and what is left is told in units of E A^2 (NaN where every row has A = 0):
    bias: of the mean over all groups, in a cell (task, turn, state, action): what no number of groups mends, in [0, 1].
    variance: around that mean, from group to group. error: both together, the mean squared error.
    correlation: of e and A over rows, without centring: 1 - correlation^2 is the error where c is least squares on
        the rows, which shrinks noisy credit towards nothing.
    alignment: mean cosine between the policy gradient that one group gives and the true gradient of its task; a group
        that gives no credit moves nothing and counts as 0; one whose task has no true gradient is left out.
    raw_error, raw_bias, raw_variance: with c = 1, in squared reward: of use where e is in units of reward (norm=mean).
    covered: share of the rows whose cell came up in two groups or more, so that bias and variance can be told apart.
    signal: E A^2 of the rows, in squared reward.
    """

    world: str
    estimator: str
    size: int
    groups: int
    rows: int
    error: Measured
    bias: Measured
    variance: Measured
    correlation: Measured
    alignment: Measured
    scale: Measured
    raw_error: Measured
    raw_bias: Measured
    raw_variance: Measured
    covered: float
    signal: float


def truth_errors(
    world: Tabular, estimators: Mapping[str, Estimator], *, size: int, rollouts: int, rng: np.random.Generator
) -> Iterator[TruthError]:
    """One measurement per estimator, all on the same groups of `size`: `rollouts` in all, or the next number above
    with which every block has every task equally often."""
    rounds = -(-rollouts // (BLOCKS * size * len(world.starts)))
    groups = rounds * len(world.starts)  # of one block
    draws = [sample(world, groups=groups, size=size, rng=rng) for _ in range(BLOCKS)]
    rows = Rows.of(draws, groups)
    cells, gradients = Cells(world, rows), Gradients(world, rows)
    for name, estimator in estimators.items():
        made = calibrated(estimator, draws[0].batch)
        credit = np.concatenate([made(draw.batch).value for draw in draws])
        yield TruthError(
            world=world.name,
            estimator=name,
            size=size,
            groups=groups * BLOCKS,
            rows=len(credit),
            alignment=banded(KEPT @ gradients.alignment(credit) / KEPT.sum(1)),
            covered=cells.covered,
            signal=float(np.mean(np.square(np.concatenate([draw.truth for draw in draws])))),
            **cells.errors(credit),
        )


def banded(value: Floats) -> Measured:
    """The first of [1 + BLOCKS] values, of all blocks, banded by those with one left out (jackknife, Student)."""
    deviation = np.sqrt((BLOCKS - 1) * np.var(value[1:]))
    return Measured(value=float(value[0]), half=float(student.ppf(0.975, BLOCKS - 1) * deviation))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """The rows of all blocks, int64 [N] each; group: 0.., those of block b from b * per_block on."""

    group: Ints
    task: Ints
    turn: Ints
    state: Ints
    action: Ints
    per_block: int

    @classmethod
    def of(cls, draws: Sequence[Sample], per_block: int) -> "Rows":
        columns = {
            name: np.concatenate([getattr(draw, name) for draw in draws])
            for name in ("task", "turn", "state", "action")
        }
        group = np.concatenate([draw.batch.group + block * per_block for block, draw in enumerate(draws)])
        return cls(group=group, per_block=per_block, **columns)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """Over groups, per cell [C]: n rows, e their credit, the squares nn, ee of each group's own n and e; square: of the
    credit of each row."""

    n: Floats
    e: Floats
    nn: Floats
    ee: Floats
    square: Floats

    def kept(self, weight: Floats) -> "Sums":
        """Of one weighted sum over the blocks, where the sums are by block [BLOCKS, C]."""
        return Sums(**{one.name: weight @ getattr(self, one.name) for one in fields(self)})


def split(sums: Sums, truth: Floats) -> dict[str, float]:
    """What of `TruthError` comes from squares, NaN where the mean credit is too near to nothing to be told from it.

    The squared mean credit of a cell is taken from products of different groups' sums, (e^2 - ee) / (n^2 - nn): the
    square of a mean would hold a part of the variance, and rows of one group share a baseline, so they are not two
    looks at the cell. A cell that only one group has seen is left out.
    """
    pairs = sums.n * sums.n - sums.nn
    told = pairs > 0.5  # counts are whole numbers
    rows = sums.n[told].sum()
    if not rows:
        return dict.fromkeys(SQUARES, np.nan)
    square = float(sums.square[told].sum() / rows)
    mean = float((sums.n[told] * (sums.e[told] ** 2 - sums.ee[told]) / pairs[told]).sum() / rows)  # E of mean credit^2
    product = float((sums.e[told] * truth[told]).sum() / rows)
    energy = float((sums.n[told] * truth[told] ** 2).sum() / rows)
    scale = product / mean if mean > 0.0 else np.nan
    unit = energy if energy > 0.0 else np.nan  # where nothing that was done matters there is none
    bias, variance = 1.0 - product * scale / unit, scale * scale * (square - mean) / unit
    raw_bias, raw_variance = mean - 2.0 * product + energy, square - mean
    correlation = product / np.sqrt(square * unit) if square > 0.0 else np.nan
    raw = (raw_bias + raw_variance, raw_bias, raw_variance)
    return dict(zip(SQUARES, (bias + variance, bias, variance, correlation, scale, *raw), strict=True))


class Cells:
    """The rows as P pairs (group, cell), and those as C cells (task, turn, state, action), of one true advantage each.

    What depends on the rows alone is sorted once, here, for all estimators.
    """

    def __init__(self, world: Tabular, rows: Rows) -> None:
        shape = (len(world.starts), *world.advantage.shape)
        found, cell = np.unique(
            np.ravel_multi_index((rows.task, rows.turn, rows.state, rows.action), shape), return_inverse=True
        )
        pairs, self._pair = np.unique(rows.group * len(found) + cell, return_inverse=True)  # pair of each row [N]
        group, self._cell = np.divmod(pairs, len(found))  # [P]
        self._at = group // rows.per_block * len(found) + self._cell  # place by block and cell [P]
        self._count = np.bincount(self._pair).astype(np.float64)  # [P]
        self.truth: Floats = world.advantage.reshape(-1)[found % world.advantage.size]  # [C]

    @property
    def covered(self) -> float:
        seen_by, rows = np.bincount(self._cell), np.bincount(self._cell, self._count)
        return float(rows[seen_by > 1].sum() / rows.sum())

    def errors(self, credit: Floats) -> dict[str, Measured]:
        """What squares tell of `TruthError`, from the credit of every row [N]."""
        by_block = self._sums(credit)
        found = [split(by_block.kept(weight), self.truth) for weight in KEPT]
        return {name: banded(np.array([numbers[name] for numbers in found])) for name in SQUARES}

    def _sums(self, credit: Floats) -> Sums:
        e: Floats = np.bincount(self._pair, credit).astype(np.float64)
        n, cells = self._count, len(self.truth)

        def summed(value: Floats) -> Floats:
            return np.bincount(self._at, value, BLOCKS * cells).reshape(BLOCKS, cells).astype(np.float64)

        return Sums(
            n=summed(n),
            e=summed(e),
            nn=summed(n * n),
            ee=summed(e * e),
            square=summed(np.bincount(self._pair, credit * credit).astype(np.float64)),
        )


class Gradients:
    """What each group's credit does to the logits of a tabular softmax policy, against the true gradient of its task.

    G[s, b] = sum over the rows in s of e (1{a = b} - pi(b|s)), of which only the cells that came up are ever held.
    """

    def __init__(self, world: Tabular, rows: Rows) -> None:
        states, slots = world.policy.shape
        truth, policy = true_gradient(world), world.policy  # [T, S, A], [S, A]
        mean = np.einsum("tsa,sa->ts", truth, policy)
        self._toward = truth[rows.task, rows.state, rows.action] - mean[rows.task, rows.state]  # d<G, truth>/de [N]
        visits, self._visit = np.unique(rows.group * states + rows.state, return_inverse=True)  # of a state by a group
        acts, self._act = np.unique(self._visit * slots + rows.action, return_inverse=True)
        self._visit_of_act, slot = np.divmod(acts, slots)
        self._group_of_visit, state = np.divmod(visits, states)
        self._chance = policy[state[self._visit_of_act], slot]  # pi of each act
        self._square = (policy * policy).sum(1)[state]  # sum of pi^2 at each visit
        self._group = rows.group
        task_of_group = np.zeros(rows.group.max() + 1, np.int64)
        task_of_group[rows.group] = rows.task
        self._length = np.sqrt((truth * truth).sum((1, 2)))[task_of_group]

    def alignment(self, credit: Floats) -> Floats:
        """Mean cosine of each block's groups [BLOCKS]; of those alone whose task has a true gradient."""
        directed = self._length > 1e-12  # the same places in every block: each has the tasks in turn
        if not directed.any():
            return np.full(BLOCKS, np.nan)
        return self.cosines(credit)[directed].reshape(BLOCKS, -1).mean(1)

    def cosines(self, credit: Floats) -> Floats:
        """Of every group, from the credit of every row [N]; 0 where the group's gradient is none."""
        product = np.bincount(self._group, credit * self._toward)
        act, visit = np.bincount(self._act, credit), np.bincount(self._visit, credit)
        squared = np.bincount(self._visit_of_act, act * act - 2.0 * self._chance * act * visit[self._visit_of_act])
        squared += visit * visit * self._square
        length = np.sqrt(np.maximum(np.bincount(self._group_of_visit, squared), 0.0)) * self._length
        return np.divide(product, length, out=np.zeros_like(product), where=length > 1e-12)
