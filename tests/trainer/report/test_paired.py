"""Two policies on the same tasks: the difference, an interval that pairs the tasks, and an exact test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test

from trainer.report.paired import Solved, gain, sign_flip


def solved(*wins: int, samples: int = 1) -> list[Solved]:
    return [Solved(wins=one, samples=samples) for one in wins]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_with_one_rollout_a_task_the_test_is_mcnemars_exact_one(pairs: list[tuple[bool, bool]]) -> None:
    won, lost = (sum(after > before for before, after in pairs), sum(after < before for before, after in pairs))
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert sign_flip([after - before for before, after in pairs]) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(-6, 6), min_size=2, max_size=8))
def test_with_several_rollouts_a_task_it_is_the_permutation_test_over_all_signs(differences: list[int]) -> None:
    exact = permutation_test(
        (np.array(differences, float),), np.mean, permutation_type="samples", n_resamples=2**8, vectorized=True
    )
    assert sign_flip(differences) == pytest.approx(exact.pvalue, abs=1e-12)


def test_a_worked_example() -> None:
    # 12 of 2**12 signs are as extreme as 12 wins of 12 on either side: 2 / 4096.
    assert sign_flip([1] * 12 + [0] * 50) == 2 / 4096
    compared = gain(solved(0, 1, 2, 4, samples=4), solved(1, 1, 1, 0, samples=1))
    assert compared.value == (1 + 0.75 + 0.5 - 1) / 4
    assert compared.low < compared.value < compared.high


def test_the_order_of_the_two_turns_the_sign_and_nothing_else() -> None:
    first, second = solved(*[0, 1, 0, 1, 1, 0] * 5), solved(*[1, 1, 0, 0, 1, 1] * 5)
    there, back = gain(first, second), gain(second, first)
    assert (there.value, there.p) == (-back.value, back.p)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=0.05)


def test_pairing_tells_what_two_separate_intervals_cannot() -> None:
    """One policy solves 40 of 100 tasks, the other the same and 8 more: unpaired, the rates are 40 and 48 %."""
    compared = gain(solved(*[1] * 40, *[0] * 60), solved(*[1] * 48, *[0] * 52))
    assert compared.value == pytest.approx(0.08)
    assert 0.01 < compared.low < compared.high < 0.15
    assert compared.p == 2 / 2**8


@pytest.mark.parametrize("samples", [1, 4])
def test_the_interval_of_a_difference_holds_it_as_often_as_it_says(samples: int) -> None:
    generator, held, rejected = np.random.default_rng(0), 0, 0
    for _ in range(150):
        chances = generator.beta(1, 1, 80)
        first, second = (generator.binomial(samples, chances).tolist() for _ in range(2))
        compared = gain(solved(*first, samples=samples), solved(*second, samples=samples))
        held += compared.low <= 0 <= compared.high
        rejected += compared.p < 0.05
    assert 0.88 <= held / 150 <= 1
    assert rejected / 150 < 0.1


def test_few_tasks_that_differ_are_told_as_little_as_the_test_tells_of_them() -> None:
    """4 gains of 64 tasks: a bootstrap over tasks has [+1.6, +12.5] %, beside p = 0.125."""
    compared = gain(solved(*[0] * 64), solved(*[1] * 4, *[0] * 60))
    assert compared.p == 0.125
    assert (compared.low, compared.high) == (pytest.approx(-0.011, abs=1e-3), pytest.approx(0.132, abs=1e-3))


def test_policies_that_solve_the_same_do_not_differ_as_far_as_so_few_tasks_tell() -> None:
    compared = gain(solved(1, 0, 1), solved(1, 0, 1))
    assert (compared.value, compared.p) == (0, 1)
    assert compared.high == -compared.low == pytest.approx(1.96 * (2 / 5 / 5) ** 0.5, rel=1e-3)
    better = gain(solved(*[0] * 8), solved(*[1] * 8))
    assert 0.4 < better.low < 0.8 < better.high == 1
    assert better.value == 1


def test_one_task_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="a comparison of 1 tasks"):
        gain(solved(1), solved(0))
