"""Clusters of similar hidden states inside each group, built in one greedy pass (2606.25556)."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.sets import Sets
from estimators.base import StepBatch

Centroid = Literal["mean", "first"]

RESOLUTION = 1e-6
"""Error of a product of unit vectors in float32: distances closer than this count as equal."""
EPS_GRID = (0.01, 0.02, 0.03, 0.05, 0.07, 0.10, 0.14, 0.20, 0.28, 0.40)
"""The radii that `calibrate` tries."""
SINGLETON_BAR = 0.2
"""The largest share of singletons among the clusters that `calibrate` accepts."""


def cluster(batch: StepBatch, embedding: NDArray[np.float32], eps: float, centroid: Centroid) -> Sets:
    """The groups cut into clusters of `embedding` [N, D] by cosine distance (BiGPO, arXiv 2606.25556).

        d(u, v) = 1 - u.v, for u and v of unit length

    One greedy pass goes over the rows of each group, ordered by (trajectory, time). A row joins the cluster with the
    nearest centroid if d <= eps. In a tie it joins the cluster that was made first. With no centroid within eps it
    starts a cluster. With centroid="mean" the centroid is the mean of the members, scaled to unit length; with
    centroid="first" it is the first member. The result depends on that order, and on no other.

    The paper says "centroid" without a definition; the two choices are our readings of it.
    """
    label = np.empty(len(batch), dtype=np.int64)
    for rows, gram in _grams(batch, embedding):
        label[rows] = assign(gram, eps, centroid)
    return batch.groups.split(label)


def calibrate(batch: StepBatch, embedding: NDArray[np.float32], centroid: Centroid) -> float:
    """The smallest eps of `EPS_GRID` where at most a fifth of the clusters are singletons and no group collapses.

    A group collapses when one cluster holds more than half of its rows. Groups that collapse at the smallest eps do
    not count, since no eps helps them: rollouts of one step are all in the first state. If no eps meets both
    conditions, the result is the largest eps at which no further group collapses.
    """
    clusters, singletons, collapsed = np.zeros((3, len(EPS_GRID)), dtype=np.int64)
    for _, gram in _grams(batch, embedding):
        for place, eps in enumerate(EPS_GRID):
            size = np.bincount(assign(gram, eps, centroid))
            clusters[place] += len(size)
            singletons[place] += np.count_nonzero(size == 1)
            collapsed[place] += bool(2 * size.max() > len(gram))
    allowed = collapsed <= collapsed[0]
    good = np.flatnonzero(allowed & (singletons <= SINGLETON_BAR * clusters))
    return EPS_GRID[int(good[0] if len(good) else np.flatnonzero(allowed)[-1])]


def assign(gram: NDArray[np.float32], eps: float, centroid: Centroid) -> NDArray[np.int64]:
    """Cluster [n] of each of n unit vectors with products `gram` [n, n], numbered in the order of their first members.

    A row's product with the sum of a cluster's members is its Gram row summed over them, and the sum's squared length
    grows by twice that product plus one. So a row costs O(n) and the vectors themselves are not needed.
    """
    n = len(gram)
    label = np.zeros(n, dtype=np.int64)
    weight = np.ones(n)  # 1 / length of each cluster's sum
    squared = [1.0] * n  # squared length of each cluster's sum
    seeds = np.zeros(n, dtype=np.int64)
    count = 1  # row 0 starts cluster 0
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
    """For each group: its rows [n] ordered by (trajectory, time), and the products [n, n] of their unit vectors."""
    for rows in batch.groups.parts():
        contiguous = bool(np.all(np.diff(rows) == 1))
        vectors = embedding[rows[0] : rows[-1] + 1] if contiguous else embedding[rows]  # a slice copies nothing
        gram = vectors @ vectors.T
        weight = 1.0 / np.sqrt(np.diagonal(gram))  # dividing here spares a copy of all vectors
        gram *= weight
        gram *= weight[:, None]
        yield rows, gram
