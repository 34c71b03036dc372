"""BiGPO's clusters: compared with a loop over vectors, worked examples, and the calibration of eps."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch
from estimators.algebra.clusters import EPS_GRID, SINGLETON_BAR, calibrate, cluster


def slow_clusters(batch, eps, centroid):
    """Label of each row, (group, number): vectors in float64, every centroid recomputed from its members."""
    unit = batch.embedding.astype(float) / np.linalg.norm(batch.embedding.astype(float), axis=1, keepdims=True)
    members, label = {}, {}
    for i in np.lexsort((batch.time, batch.trajectory)):
        mine = members.setdefault(batch.group[i], [])
        means = [unit[c[0]] if centroid == "first" else unit[c].sum(axis=0) for c in mine]
        distances = [1.0 - unit[i] @ (mean / np.linalg.norm(mean)) for mean in means]
        if distances and min(distances) <= eps + 1e-9:
            mine[int(np.argmin(distances))].append(i)
        else:
            mine.append([i])
    for group, clusters in members.items():
        label.update({i: (group, number) for number, rows in enumerate(clusters) for i in rows})
    return [label[i] for i in range(len(batch))]


def slow_eps(batch, centroid):
    """The eps that `calibrate` promises, tried by trying every one."""
    tried = []
    for eps in EPS_GRID:
        sizes = Counter(slow_clusters(batch, eps, centroid))
        singletons = sum(size == 1 for size in sizes.values())
        rows_of = Counter(batch.group.tolist())
        collapsed = sum(max(n for (g, _), n in sizes.items() if g == group) > rows_of[group] / 2 for group in rows_of)
        tried.append((eps, singletons <= SINGLETON_BAR * len(sizes), collapsed))
    allowed = [(eps, few) for eps, few, collapsed in tried if collapsed <= tried[0][2]]
    return next((eps for eps, few in allowed if few), allowed[-1][0])


def partition(labels):
    return {frozenset(i for i, other in enumerate(labels) if other == label) for label in set(labels)}


@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=4), min_size=1, max_size=3),
    eps=st.sampled_from([0.05, 0.2, 0.5]),
    centroid=st.sampled_from(["mean", "first"]),
    shuffled=st.booleans(),
)
def test_clusters_equal_the_loop_over_vectors(random_columns, seed, lengths, eps, centroid, shuffled):
    columns = random_columns(seed, lengths)
    if not shuffled:
        order = np.lexsort((columns["time"], columns["trajectory"], columns["group"]))
        columns = {name: value[order] for name, value in columns.items()}
    embedding = np.random.default_rng(seed).standard_normal((len(columns["time"]), 3)).astype(np.float32)
    batch = StepBatch(**{**columns, "embedding": embedding})
    fast = cluster(batch, batch.embedding, eps, centroid)
    assert partition(fast.label.tolist()) == partition(slow_clusters(batch, eps, centroid))


@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=4), min_size=1, max_size=3),
    centroid=st.sampled_from(["mean", "first"]),
)
def test_one_hot_states_with_eps_0_are_gigpos_anchor_groups(random_columns, seed, lengths, centroid):
    batch = StepBatch(**random_columns(seed, lengths))
    anchors = batch.groups.split(batch.state)
    clusters = cluster(batch, batch.embedding, 0.0, centroid)
    assert partition(clusters.label.tolist()) == partition(anchors.label.tolist())


def planar(*cosines):
    """Unit vectors in the plane, each at the given cosine from the first axis (negative: below it)."""
    return np.array([[abs(c), np.sign(c) * np.sqrt(1 - c * c)] for c in cosines], np.float32)


def clusters_of(rows, embedding, eps, centroid="mean"):
    batch = rows(reward=np.zeros(len(embedding)), embedding=embedding)
    return cluster(batch, batch.embedding, eps, centroid).label.tolist()


def test_a_row_joins_at_distance_eps_and_starts_a_cluster_beyond_it(rows):
    # 3-4-5 vectors: cosines to the first are 0.8 and 0.6, so distances 0.2 and 0.4.
    vectors = np.array([[5, 0], [4, 3], [3, 4]], np.float32)
    assert clusters_of(rows, vectors[:2], 0.2) == [0, 0]
    assert clusters_of(rows, vectors[:2], 0.19) == [0, 1]
    assert clusters_of(rows, vectors, 0.2, "first") == [0, 0, 1]


def test_the_mean_moves_with_its_members_and_the_first_does_not(rows):
    # [4, 3] pulls the mean to the diagonal between them: [3, 4] is 0.051 from it and 0.4 from the seed.
    vectors = np.array([[5, 0], [4, 3], [3, 4]], np.float32)
    assert clusters_of(rows, vectors, 0.25, "mean") == [0, 0, 0]
    assert clusters_of(rows, vectors, 0.25, "first") == [0, 0, 1]


def test_a_row_joins_the_nearest_centroid_not_the_first_within_reach(rows):
    vectors = np.array([[1, 0], [3, 4], [4, 5]], np.float32)
    assert clusters_of(rows, vectors, 0.39) == [0, 1, 1]


def test_a_tie_goes_to_the_lowest_cluster(rows):
    vectors = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    assert clusters_of(rows, vectors, 0.3) == [0, 1, 0]


def test_the_length_of_a_vector_does_not_count(rows):
    vectors = np.array([[1e-3, 0], [1e3, 0], [0, 7]], np.float32)
    assert clusters_of(rows, vectors, 0.0) == [0, 0, 1]


def test_copies_of_a_dense_vector_are_one_cluster_at_eps_0(rows):
    # 700 x 331 makes BLAS use its edge kernels, whose sums differ in the last bit.
    vectors = np.repeat(np.random.default_rng(0).standard_normal((7, 331)).astype(np.float32), 100, axis=0)
    assert len(set(clusters_of(rows, vectors, 0.0))) == 7


def test_rows_are_visited_by_trajectory_and_time_not_by_row_number(rows):
    # In time order 0, 1, 2 the chain closes onto one cluster; the row order would begin in the middle.
    vectors = np.array([[3, 4], [5, 0], [4, 3]], np.float32)
    batch = rows(trajectory=[1, 1, 1], time=[2, 0, 1], embedding=vectors)
    assert cluster(batch, batch.embedding, 0.2, "first").label.tolist() == [1, 0, 0]


def test_clusters_never_cross_groups(rows):
    batch = rows(group=[0, 0, 1], embedding=np.ones((3, 2), np.float32))
    assert cluster(batch, batch.embedding, 0.5, "mean").label.tolist() == [0, 0, 1]


@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=4), min_size=2, max_size=4),
    spread=st.sampled_from([0.1, 0.3, 0.6, 1.0]),
    centroid=st.sampled_from(["mean", "first"]),
)
def test_calibration_equals_trying_every_eps(random_columns, seed, lengths, spread, centroid):
    columns, rng = random_columns(seed, lengths), np.random.default_rng(seed)
    places = rng.integers(3, size=len(columns["time"]))
    embedding = np.eye(4)[places] + spread * rng.standard_normal((len(places), 4))
    batch = StepBatch(**{**columns, "embedding": embedding.astype(np.float32)})
    assert calibrate(batch, batch.embedding, centroid) == slow_eps(batch, centroid)


def test_calibration_takes_the_smallest_eps_with_few_singletons(rows):
    # Ten pairs on ten axes, the halves of a pair 0.05 apart (cosine 0.95): below 0.05 every cluster is a singleton.
    axes, at, side = np.eye(20), np.repeat(np.arange(10), 2), np.arange(20) % 2
    vectors = axes[at] * np.where(side, 0.95, 1.0)[:, None] + axes[10 + at] * (side * np.sqrt(1 - 0.95**2))[:, None]
    batch = rows(reward=np.zeros(20), embedding=vectors.astype(np.float32))
    assert calibrate(batch, batch.embedding, "mean") == 0.05


def test_calibration_stops_before_a_cluster_holds_over_half_of_a_group(rows):
    # A fan of eight vectors 20 degrees apart (0.06): few singletons come only where the fan has collapsed.
    angles = np.deg2rad(np.array([0, 20, 90, 180, 270]))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    batch = rows(reward=np.zeros(5), embedding=vectors)
    assert calibrate(batch, batch.embedding, "mean") == EPS_GRID[-1]
    fan = np.deg2rad(np.array([0, 20, 40, 120]))
    vectors = np.stack([np.cos(fan), np.sin(fan)], axis=1).astype(np.float32)
    batch = rows(reward=np.zeros(4), embedding=vectors)
    # At 0.07 the first two meet; 40 degrees is 0.134 from their mean at 10, so 0.14 puts 3 of 4 into one cluster.
    assert calibrate(batch, batch.embedding, "mean") == 0.10


def test_a_group_in_one_state_does_not_raise_eps(rows):
    same = np.ones((4, 2), np.float32)
    batch = rows(reward=np.zeros(4), embedding=same)
    assert calibrate(batch, batch.embedding, "mean") == EPS_GRID[0]


@pytest.mark.parametrize("centroid", ["mean", "first"])
def test_vectors_at_a_right_angle_may_share_a_cluster_at_eps_1(rows, centroid):
    assert clusters_of(rows, np.eye(4, dtype=np.float32), 1.0, centroid) == [0] * 4
