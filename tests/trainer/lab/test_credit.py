"""Statistics and agreement of credit, on small cases whose numbers can be checked on paper."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from estimators import StepBatch
from trainer.lab.measure.credit import (
    Agreement,
    CreditStatistics,
    StateStatistics,
    agreements,
    credit_statistics,
    state_statistics,
)


def batch(*, state: list[int] | None = None, action: list[int] | None = None) -> StepBatch:
    """Two groups of two rollouts of two steps each: rows 0..7 in order."""
    return StepBatch(
        group=np.repeat([0, 1], 4),
        trajectory=np.repeat([0, 1, 2, 3], 2),
        time=np.tile([0, 1], 4),
        reward=np.zeros(8),
        invalid=np.zeros(8, bool),
        state=np.array(state or [0] * 8),
        action=np.array(action or [0] * 8),
    )


def test_variance_splits_into_groups_rollouts_and_steps() -> None:
    # Groups at -1 and 1, rollouts 2 off their group, steps 4 off their rollout: 1 + 4 + 16 = 21.
    value = np.array([-7, 1, -3, 5, -5, 3, -1, 7], float)
    statistics = credit_statistics(value, batch())
    assert statistics.variance == 21.0
    parts = (statistics.between_groups, statistics.between_rollouts, statistics.within_rollouts)
    assert parts == pytest.approx((1 / 21, 4 / 21, 16 / 21))


def test_effective_rows_count_two_equal_weights_as_two() -> None:
    # Two rows of eight carry all credit, equally: (1 + 1)^2 / (1 + 1) = 2 of 8. Six rows have no credit.
    statistics = credit_statistics(np.array([1, -1, 0, 0, 0, 0, 0, 0], float), batch())
    assert (statistics.zero, statistics.effective) == (0.75, 0.25)


def test_no_credit_at_all_has_no_shares() -> None:
    assert credit_statistics(np.zeros(8), batch()) == CreditStatistics(
        zero=1.0, variance=0.0, between_groups=None, between_rollouts=None, within_rollouts=None, effective=None
    )


def test_ranks_and_signs_of_two_credits() -> None:
    # Same order, so rank 1; of the two rows with credit from both (1 and 3), one agrees in sign.
    pairs = agreements({"a": np.array([0.0, 1.0, 2.0, 3.0]), "b": np.array([-9.0, -1.0, 0.0, 4.0])})
    assert pairs == {("a", "b"): Agreement(rank=pytest.approx(1.0), sign=0.5, both=0.5)}


def test_rank_correlation_is_spearmans_with_ties() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 4, 200).astype(float), rng.integers(0, 4, 200).astype(float)
    second += first
    pair = agreements({"a": first, "b": second})["a", "b"]
    assert pair.rank == pytest.approx(spearmanr(first, second).statistic)


def test_an_undefined_agreement_is_missing_and_not_zero() -> None:
    pairs = agreements({"a": np.zeros(3), "b": np.arange(3.0), "c": -np.arange(3.0)})
    assert pairs["a", "b"] == Agreement(rank=None, sign=None, both=0.0)
    assert pairs["b", "c"] == Agreement(rank=pytest.approx(-1.0), sign=0.0, both=pytest.approx(2 / 3))
    assert list(pairs) == [("a", "b"), ("a", "c"), ("b", "c")]


def test_states_are_counted_inside_each_group() -> None:
    # Group 0: state 0 three times with actions 0, 0, 1; state 1 once. Group 1: state 0 four times, one action.
    statistics = state_statistics(batch(state=[0, 0, 0, 1, 0, 0, 0, 0], action=[0, 0, 1, 0, 0, 0, 0, 0]))
    # Sizes 1, 3, 4; keys 1, 2, 1; the 90th percentile of three values lies 0.8 of the way from 3 to 4.
    expected = StateStatistics(
        singleton_states=1 / 3, singleton_rows=1 / 8, size_mean=8 / 3, size_p90=3.8, keys_mean=4 / 3
    )
    assert statistics == expected
