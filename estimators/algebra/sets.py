"""Rows cut into disjoint sets (groups, rollouts, anchor states, clusters) and the statistics of each set."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Norm = Literal["mean", "mean_std"]
Lone = Literal["zero", "raw"]

STD_FLOOR = 1e-6  # added to every standard deviation, as in 2505.10978's public code
NO_SPREAD = 1e-6  # relative spread below which a set carries no signal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sets:
    """N rows cut into S disjoint sets.

    Sums run along `order`, so they do not depend on the order in which the rows came, to the last bit.

    order: int64 [N], row numbers set by set.  label: int64 [N], the set of each row, 0..S-1.
    start: int64 [S], where each set begins in `order`.  size: int64 [S].
    """

    order: NDArray[np.int64]
    label: NDArray[np.int64]
    start: NDArray[np.int64]
    size: NDArray[np.int64]

    def split(self, key: NDArray[np.int64]) -> "Sets":
        """Each set cut further into rows of equal `key` [N]; inside a part the order stays."""
        # A stable sort by the key alone keeps the rows of one old set together inside each run of equal keys.
        order = self.order[np.argsort(narrow(key)[self.order], kind="stable")]
        return cut(order, changes(key[order]) | changes(self.label[order]))

    def parts(self) -> list[NDArray[np.int64]]:
        """The rows of each set."""
        return np.split(self.order, self.start[1:])

    def sum(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum [S] of `value` [N] over each set."""
        return np.add.reduceat(value[self.order], self.start)

    def mean(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean [S] of `value` [N] over each set."""
        return self.sum(value) / self.size

    def firsts(self) -> NDArray[np.int64]:
        """The first row [S] of each set."""
        return self.order[self.start]


def narrow(key: NDArray[np.int64]) -> NDArray[np.int64] | NDArray[np.int16]:
    """The same keys [N] in 16 bits where they fit: a stable sort of those is a radix sort, three times as fast."""
    fits = key.min() >= -(2**15) and key.max() < 2**15
    return key.astype(np.int16) if fits else key


def changes(ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where [N] a value differs from the one before it; the first always does."""
    result = np.ones(len(ordered), dtype=np.bool_)
    result[1:] = ordered[1:] != ordered[:-1]
    return result


def cut(order: NDArray[np.int64], begins: NDArray[np.bool_]) -> Sets:
    """Sets from rows in `order` [N] and where along it a set begins [N]; the first entry must."""
    start = np.flatnonzero(begins)
    size = np.diff(start, append=len(order))
    label = np.empty_like(order)
    label[order] = np.repeat(np.arange(len(start)), size)
    return Sets(order=order, label=label, start=start, size=size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Per set: mean float64 [S], scale float64 [S] (what a deviation is divided by), signal bool [S]."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    signal: NDArray[np.bool_]


def moments(sets: Sets, value: NDArray[np.float64], norm: Norm, *, ddof: int = 1, lone: Lone = "zero") -> Moments:
    """Mean and scale of `value` [N] over each set: std + 1e-6 for "mean_std", 1 for "mean".

    A set of one, or with max - min below 1e-6 * max(1, |mean|), has no signal: its advantages are exactly 0. Without
    the rule rounding alone is standardised to order 1 (23 equal returns of 9.025 in float32: 0.65). lone="raw" lets
    the value of a set of one through as it is, as the public GiGPO code does.
    """
    ordered = value[sets.order]  # read once: a gather costs more than a sum
    mean = np.add.reduceat(ordered, sets.start) / sets.size
    spread = np.maximum.reduceat(ordered, sets.start) - np.minimum.reduceat(ordered, sets.start)
    alone = sets.size == 1
    signal = ~alone & (spread >= NO_SPREAD * np.maximum(1.0, np.abs(mean)))
    scale = np.ones_like(mean)
    if norm == "mean_std":
        deviation = ordered - np.repeat(mean, sets.size)
        variance = np.add.reduceat(deviation * deviation, sets.start) / np.maximum(sets.size - ddof, 1)
        scale = np.where(alone, 1.0, np.sqrt(variance) + STD_FLOOR)
    if lone == "raw":
        return Moments(mean=np.where(alone, 0.0, mean), scale=scale, signal=signal | alone)
    return Moments(mean=mean, scale=scale, signal=signal)


def relative(value: NDArray[np.float64], label: NDArray[np.int64], of: Moments) -> NDArray[np.float64]:
    """(value - mean) / scale [N] of each row's set, exactly 0 where the set has no signal."""
    divisor = np.where(of.signal, of.scale, np.inf)  # what is finite over infinity is 0
    return (value - of.mean[label]) / divisor[label]


def size_report(sets: Sets, groups: Sets) -> dict[str, float]:
    """Sizes of clusters inside groups, to hold against 2606.25556 table L.3.

    singleton_share: clusters of one over clusters (the paper's row share of singletons is `share_singleton`).
    cluster_size_mean, cluster_size_p90: over clusters.  pairs: unordered pairs of rows that share a cluster.
    largest_cluster_share: the most that one cluster holds of its group's rows.
    """
    size = sets.size
    ordered = np.sort(size)
    at = 0.9 * (len(size) - 1)  # by hand: np.percentile takes as long as all the statistics of an anchor term
    below, above = ordered[int(at)], ordered[math.ceil(at)]
    return {
        "singleton_share": float((size == 1).mean()),
        "cluster_size_mean": float(size.mean()),
        "cluster_size_p90": float(below + (at - int(at)) * (above - below)),
        "pairs": float((size * (size - 1) // 2).sum()),
        "largest_cluster_share": float((size / groups.size[groups.label[sets.firsts()]]).max()),
    }
