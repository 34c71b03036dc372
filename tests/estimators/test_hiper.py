"""HiPER: both levels compared with loops over segments, and with PPO for one segment or one for each turn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch, build
from tests.estimators.slow import rewards

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)
SHARE = st.sampled_from([0.0, 0.5, 0.95, 1.0])


def slow(batch, gamma, lam, lam_high):
    """(A_low [N], A_high by row of a segment's first turn), as the paper has them: backwards through each rollout."""
    reward, low, high = rewards(batch), np.zeros(len(batch)), {}
    for rollout in np.unique(batch.trajectory):
        rows = sorted(np.flatnonzero(batch.trajectory == rollout), key=lambda row: batch.time[row])
        starts = [at for at, row in enumerate(rows) if at == 0 or batch.switch[row]]
        after = 0.0
        for number in reversed(range(len(starts))):
            begin, end = starts[number], [*starts, len(rows)][number + 1]
            following = batch.values[rows[end]] if end < len(rows) else 0.0
            trace = 0.0
            for at in reversed(range(begin, end)):
                then = batch.values[rows[at + 1]] if at + 1 < end else following
                trace = reward[rows[at]] + gamma * then - batch.values[rows[at]] + gamma * lam * trace
                low[rows[at]] = trace
            paid = sum(gamma ** (at - begin) * reward[rows[at]] for at in range(begin, end))
            turns = end - begin
            error = paid + gamma**turns * following - batch.values[rows[begin]]
            after = error + gamma**turns * lam_high * after
            high[rows[begin]] = after
    return low, high


@given(seed=SEED, lengths=LENGTHS, gamma=st.sampled_from([0.5, 0.9, 1.0]), lam=SHARE, lam_high=SHARE)
def test_hiper_equals_the_formula_in_loops(random_columns, seed, lengths, gamma, lam, lam_high):
    batch = StepBatch(**random_columns(seed, lengths))
    low, high = slow(batch, gamma, lam, lam_high)
    result = build("hiper", gamma=gamma, lam=lam, lam_high=lam_high, omega=0.5, whiten=False)(batch)
    value, returns = low.copy(), low + batch.values
    for row, credit in high.items():
        value[row] += 0.5 * credit
        returns[row] = credit + batch.values[row]
    np.testing.assert_allclose(result.value, value, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(result.returns, returns, rtol=1e-9, atol=1e-9)
    assert result.diagnostics["segment_turns"] == pytest.approx(len(batch) / len(high))


@given(seed=SEED, lengths=LENGTHS, whiten=st.booleans())
def test_one_segment_without_the_high_level_is_ppo(random_columns, seed, lengths, whiten):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**{**columns, "switch": np.zeros(len(columns["time"]), bool)})
    mine, ppo = build("hiper", omega=0.0, whiten=whiten)(batch), build("ppo", whiten=whiten)(batch)
    assert mine.value.tolist() == ppo.value.tolist()
    assert mine.diagnostics["switch_share"] == 0.0


@given(seed=SEED, lengths=LENGTHS)
def test_with_a_segment_for_each_turn_the_high_level_is_ppo_and_the_low_one_the_error_of_a_turn(
    random_columns, seed, lengths
):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**{**columns, "switch": np.ones(len(columns["time"]), bool)})
    result = build("hiper", lam_high=0.5, whiten=False)(batch)
    high, low = (build("ppo", lam=lam, whiten=False)(batch) for lam in (0.5, 0.0))
    np.testing.assert_allclose(result.value, high.value + low.value, atol=1e-9)
    np.testing.assert_allclose(result.returns, high.returns, atol=1e-9)


def test_each_level_is_whitened_over_the_turns_that_have_it(random_columns):
    batch = StepBatch(**random_columns(3, [[4, 5, 3]]))
    both, low = (build("hiper", omega=omega)(batch).value for omega in (1.0, 0.0))
    begins = (batch.time == 0) | batch.switch
    assert low.mean() == pytest.approx(0.0, abs=1e-9)
    assert (both - low)[begins].mean() == pytest.approx(0.0, abs=1e-9)
    assert (both - low)[begins].std(ddof=1) == pytest.approx(1.0, abs=1e-4)
    assert (both - low)[~begins].tolist() == [0.0] * int((~begins).sum())
