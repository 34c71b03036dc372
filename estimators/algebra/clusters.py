"""States that the policy itself holds for alike: greedy clusters of hidden states inside each group (2606.25556)."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.sets import Sets
from estimators.base import StepBatch

Centroid = Literal["mean", "first"]

RESOLUTION = 1e-6  # what a float32 product of unit vectors is off by: closer than this is equal
EPS_GRID = (0.01, 0.02, 0.03, 0.05, 0.07, 0.10, 0.14, 0.20, 0.28, 0.40)
SINGLETON_BAR = 0.2


def cluster(batch: StepBatch, embedding: NDArray[np.float32], eps: float, centroid: Centroid) -> Sets:
    """The groups cut into clusters of `embedding` [N, D] by cosine distance d(u, v) = 1 - u.v.

    One greedy pass per group in the order (trajectory, time): a row joins the nearest centroid if d <= eps (ties: the
    lowest cluster), else it seeds a cluster. The centroid is the members' mean, re-normalised (reading: the paper says
    centroid), or with "first" the seed. The result depends on the order only through that pass.
    """
    label = np.empty(len(batch), dtype=np.int64)
    for rows, gram in _grams(batch, embedding):
        label[rows] = assign(gram, eps, centroid)
    return batch.groups.split(label)


def calibrate(batch: StepBatch, embedding: NDArray[np.float32], centroid: Centroid) -> float:
    """The smallest eps of `EPS_GRID` with at most a fifth of the clusters singletons and no group collapsed.

    Collapsed: one cluster holds over half of the group. Groups that collapse at the smallest eps already (rollouts of
    one step all stand in the first state) do not count: no eps could mend them. Where no eps has both, the largest one
    that collapses nothing more.
    """
    clusters, singletons, collapsed = np.zeros((3, len(EPS_GRID)), dtype=np.int64)
    for _, gram in _grams(batch, embedding):
        for at, eps in enumerate(EPS_GRID):
            size = np.bincount(assign(gram, eps, centroid))
            clusters[at] += len(size)
            singletons[at] += np.count_nonzero(size == 1)
            collapsed[at] += bool(2 * size.max() > len(gram))
    allowed = collapsed <= collapsed[0]
    good = np.flatnonzero(allowed & (singletons <= SINGLETON_BAR * clusters))
    return EPS_GRID[int(good[0] if len(good) else np.flatnonzero(allowed)[-1])]


def assign(gram: NDArray[np.float32], eps: float, centroid: Centroid) -> NDArray[np.int64]:
    """Cluster [n] of each of n unit vectors with products `gram` [n, n], numbered in the order of their seeds.

    A row's products with all centroid sums are its Gram row summed by cluster, and a sum's squared length grows by
    twice such a product plus one: O(n) per row, and no vector is touched again.
    """
    n = len(gram)
    label = np.zeros(n, dtype=np.int64)
    weight = np.ones(n)  # 1 / length of each cluster's sum
    squared = [1.0] * n  # its squared length
    seeds = np.zeros(n, dtype=np.int64)
    count = 1  # row 0 seeds cluster 0
    for i in range(1, n):
        sums = np.bincount(label[:i], gram[i, :i], count) if centroid == "mean" else gram[i, seeds[:count]]
        best = int((sums * weight[:count]).argmax())
        product = float(sums[best])
        if product * weight[best] < 1.0 - eps - RESOLUTION:
            label[i], seeds[count] = count, i
            count += 1
            continue
        label[i] = best
        if centroid == "mean":
            squared[best] += 2.0 * product + 1.0
            weight[best] = squared[best] ** -0.5
    return label


def _grams(batch: StepBatch, embedding: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Per group: its rows [n] in the order (trajectory, time), and the products [n, n] of their unit vectors."""
    for rows in batch.groups.parts():
        run = bool(np.all(np.diff(rows) == 1))
        vectors = embedding[rows[0] : rows[-1] + 1] if run else embedding[rows]  # a slice copies nothing
        gram = vectors @ vectors.T
        weight = 1.0 / np.sqrt(np.diagonal(gram))  # dividing here spares a copy of all vectors
        gram *= weight
        gram *= weight[:, None]
        yield rows, gram
