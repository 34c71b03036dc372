"""Sets of rows and their statistics: no signal means exactly 0."""

import numpy as np
import pytest

from estimators.algebra.sets import Sets, cut, moments, narrow, relative, size_report


def sets_of(labels) -> Sets:
    labels = np.asarray(labels)
    order = np.argsort(labels, kind="stable")
    return cut(order, np.diff(labels[order], prepend=-1) != 0)


@pytest.mark.parametrize("norm", ["mean", "mean_std"])
def test_23_equal_returns_of_9_025_give_exactly_0(norm):
    # In float32 the plain formula gives up to 0.65, in float64 up to 1e-9; neither is zero credit.
    sets = sets_of([0] * 23)
    value = np.full(23, 9.025)
    assert relative(value, sets.label, moments(sets, value, norm)).tolist() == [0.0] * 23


@pytest.mark.parametrize(("level", "spread", "signal"), [(0.0, 1e-6, True), (0.0, 9e-7, False), (-8.0, 9e-6, True)])
def test_spread_is_compared_with_1_or_the_mean_whichever_is_larger(level, spread, signal):
    sets = sets_of([0, 0])
    assert moments(sets, np.array([level, level + spread]), "mean").signal.tolist() == [signal]


def test_spread_below_a_millionth_of_a_large_mean_is_no_signal():
    sets = sets_of([0, 0])
    assert moments(sets, np.array([1000.0, 1000.0009]), "mean").signal.tolist() == [False]
    assert moments(sets, np.array([-1000.0, -1000.0009]), "mean").signal.tolist() == [False]
    assert moments(sets, np.array([1000.0, 1000.002]), "mean").signal.tolist() == [True]


def test_a_set_of_one_has_no_signal_even_where_its_value_is_large():
    sets = sets_of([0, 1, 1])
    value = np.array([64.0, 2.0, 4.0])
    assert relative(value, sets.label, moments(sets, value, "mean")).tolist() == [0.0, -1.0, 1.0]


def test_the_std_is_the_samples_with_a_floor_of_a_millionth():
    # 0 and 2: mean 1, squared deviations 1 + 1, over n - 1 = 1: std sqrt(2).
    sets = sets_of([0, 0])
    stats = moments(sets, np.array([0.0, 2.0]), "mean_std")
    assert (stats.mean.tolist(), stats.scale.tolist()) == ([1.0], [np.sqrt(2.0) + 1e-6])


def test_split_cuts_every_set_by_the_key_and_keeps_the_order_inside():
    sets = sets_of([0, 1, 0, 1, 0, 0]).split(np.array([5, 5, 3, 5, 5, 3]))
    parts = [part.tolist() for part in np.split(sets.order, sets.start[1:])]
    assert sorted(parts) == [[0, 4], [1, 3], [2, 5]]
    assert [parts[label] for label in sets.label] == [[0, 4], [1, 3], [2, 5], [1, 3], [0, 4], [2, 5]]
    assert sets.size[sets.label].tolist() == [2, 2, 2, 2, 2, 2]
    assert sets.firsts().tolist() == [part[0] for part in parts]


@pytest.mark.parametrize(
    ("keys", "bits"),
    [
        ([-(2**15), 2**15 - 1], 16),
        ([0, 2**15], 64),
        ([-(2**15) - 1, 0], 64),
        ([5, 5 + 2**16], 64),
        ([2**40, -(2**40)], 64),
    ],
)
def test_keys_are_put_into_16_bits_only_where_all_fit(keys, bits):
    narrowed = narrow(np.array(keys))
    assert (narrowed.tolist(), 8 * narrowed.itemsize) == (keys, bits)
    assert sets_of([0, 0]).split(np.array(keys)).size.tolist() == [1, 1]


def test_size_report_counts_clusters_and_divides_the_largest_by_its_own_group():
    # Group 0 has 4 rows in clusters of 3 and 1; group 1 has 6 rows in clusters of 4, 1 and 1.
    groups = sets_of([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    clusters = groups.split(np.array([0, 0, 0, 1, 0, 0, 0, 0, 1, 2]))
    assert size_report(clusters, groups) == {
        "singleton_share": 3 / 5,
        "cluster_size_mean": 2.0,
        "cluster_size_p90": pytest.approx(3.6),  # sizes 1 1 1 3 4: 0.6 of the way from 3 to 4
        "pairs": 9.0,  # 3 + 6
        "largest_cluster_share": 0.75,  # 3 of 4, not 4 of 6
    }
