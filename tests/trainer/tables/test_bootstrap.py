"""Intervals over seeds and tasks cover the truth, pairing makes them narrow, and what is not known is not claimed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.tables.bootstrap import estimate, paired

TRIALS, DRAWS = 200, 400


def outcomes(rng: np.random.Generator, *, seeds: int, tasks: int, of_seed: float, of_task: float) -> np.ndarray:
    """Successes [seed, task] whose chances differ by seed and by task around one half."""
    logits = of_seed * rng.normal(size=(seeds, 1)) + of_task * rng.normal(size=(1, tasks))
    return (rng.random((seeds, tasks)) < 1 / (1 + np.exp(-logits))).astype(float)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("of_seed", "of_task"), [(0.0, 0.0), (0.5, 0.0), (0.0, 2.0), (0.5, 2.0)])
def test_the_interval_covers_the_true_mean_about_95_times_in_100(seeds: int, of_seed: float, of_task: float) -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(TRIALS):
        played = outcomes(rng, seeds=seeds, tasks=60, of_seed=of_seed, of_task=of_task)
        found = estimate(played.mean(1), played, draws=DRAWS)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.5 <= found.high
    assert 0.90 <= covered / TRIALS <= 1.0


def test_the_interval_of_five_seeds_is_no_wider_than_it_must_be() -> None:
    rng = np.random.default_rng(3)
    widths, means = list[float](), list[float]()
    for _ in range(TRIALS):
        played = outcomes(rng, seeds=5, tasks=100, of_seed=0.3, of_task=1.5)
        found = estimate(played.mean(1), played, draws=DRAWS)
        widths.append((found.high or 0) - (found.low or 0))
        means.append(found.mean)
    # Student's quantile with 4 degrees of freedom is 1.42 times the normal one, and tasks need none of it.
    exact = 2 * 1.96 * float(np.std(means))
    assert 0.95 * exact < np.mean(widths) < 1.5 * exact


def test_pairing_by_seed_and_task_makes_the_interval_of_a_difference_narrow() -> None:
    rng = np.random.default_rng(5)
    shared = outcomes(rng, seeds=5, tasks=150, of_seed=1.0, of_task=2.0)
    better = np.maximum(shared, rng.random(shared.shape) < 0.1)
    difference = paired((better - shared).mean(1), better - shared)
    first, second = ((one.high or 0) - (one.low or 0) for one in (estimate(of.mean(1), of) for of in (better, shared)))
    unpaired = float(np.hypot(first, second))
    assert (difference.high or 0) - (difference.low or 0) < unpaired / 3
    assert difference.low is not None
    assert difference.low > 0


def test_equal_runs_differ_by_nothing_and_no_interval_claims_that_it_is_exactly_nothing() -> None:
    played = outcomes(np.random.default_rng(1), seeds=4, tasks=30, of_seed=0.5, of_task=1.0)
    same = paired((played - played).mean(1), played - played)
    assert (same.mean, same.std) == (0.0, 0.0)
    assert same.low == pytest.approx(-0.087, abs=0.01)  # Bonett and Price (2012): 1.96 * sqrt(2 / 32 / 32)
    assert same.high == pytest.approx(0.087, abs=0.01)
    apart = paired([1.0, 1.0], np.ones((2, 30)))
    assert apart.low == pytest.approx(0.82, abs=0.02)
    assert apart.high == 1.0
    unknown = paired([0.0, 0.0], None)
    assert (unknown.mean, unknown.low, unknown.high) == (0.0, None, None)


@pytest.mark.parametrize("seeds", [2, 3])
def test_seeds_that_agree_by_luck_do_not_make_a_mean_certain(seeds: int) -> None:
    """Each of 24 tasks, other ones by seed, is lost once: all shares are 23 / 24."""
    played = 1.0 - np.eye(seeds, 24)
    found = estimate(played.mean(1), played)
    assert found.std == pytest.approx(0.0)
    assert found.low is not None
    assert found.high is not None
    half = 1.96 * np.sqrt(23 / 24 / 24 / (24 * seeds))  # of as many independent trials
    assert found.mean - found.low == pytest.approx(half, rel=0.1)
    difference = paired((played - played[::-1]).mean(1), played - played[::-1])
    assert difference.low is not None
    assert difference.low < 0


def test_one_seed_has_no_deviation_and_an_interval_over_tasks_alone() -> None:
    played = np.array([[1.0] * 30 + [0.0] * 70])
    found, binomial = estimate([0.3], played), estimate([0.3], None, tasks=100)
    assert found.std is None
    for one in (found, binomial):  # Wilson: [0.219, 0.396]
        assert one.low == pytest.approx(0.219, abs=0.01)
        assert one.high == pytest.approx(0.396, abs=0.01)
    none_of_24 = estimate([0.0, 0.0], np.zeros((2, 24)))
    assert none_of_24.low == 0.0
    assert none_of_24.high == pytest.approx(0.14, abs=0.05)  # Wilson: 0.138
    nothing = estimate([0.3], None)
    assert (nothing.low, nothing.high) == (None, None)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.permutations(range(8)))
def test_the_order_of_the_seeds_moves_neither_mean_nor_deviation(values: list[float], order: list[int]) -> None:
    moved = [values[place] for place in order if place < len(values)]
    first, second = estimate(values, None, tasks=50), estimate(moved, None, tasks=50)
    assert first.mean == pytest.approx(second.mean)
    assert first.std == pytest.approx(second.std)
    assert first.low is not None
    assert first.high is not None
    assert first.low <= first.mean + 1e-12
    assert first.high >= first.mean - 1e-12
