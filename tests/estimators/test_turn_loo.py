"""Leave-one-out by turns: compared with loops, a worked example and limiting cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch, build
from tests.estimators.slow import flat

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def slow(batch, penalty, singleton):
    inside = -0.1 * batch.invalid if penalty == "return" else np.zeros(len(batch))
    own = -0.1 * batch.invalid if penalty == "row" else np.zeros(len(batch))
    total = np.array([(batch.reward + inside)[batch.trajectory == who].sum() for who in batch.trajectory])
    result = np.zeros(len(batch))
    for i in range(len(batch)):
        playing = (batch.group == batch.group[i]) & (batch.time == batch.time[i])
        others = total[playing & (batch.trajectory != batch.trajectory[i])]
        if not len(others):
            result[i] = total[i] + own[i] if singleton == "raw" else 0.0
        elif not flat(total[playing]):
            result[i] = total[i] + own[i] - np.mean(others)
    return result


@given(
    seed=SEED,
    lengths=LENGTHS,
    penalty=st.sampled_from(["return", "row"]),
    singleton=st.sampled_from(["raw", "zero"]),
)
def test_turn_loo_equals_the_formula_in_loops(random_columns, seed, lengths, penalty, singleton):
    batch = StepBatch(**random_columns(seed, lengths))
    fast = build("turn_loo", penalty=penalty, singleton=singleton)(batch).value
    np.testing.assert_allclose(fast, slow(batch, penalty, singleton), rtol=1e-9, atol=1e-9)


def test_a_rollout_that_plays_on_alone_keeps_its_return(rows):
    # R 4 and 8. Turn 0: each against the other. Turn 1: rollout 1 alone.
    batch = rows(trajectory=[0, 1, 1], time=[0, 0, 1], reward=[4.0, 0.0, 8.0])
    result = build("turn_loo")(batch)
    assert result.value.tolist() == [-4.0, 4.0, 8.0]
    assert result.diagnostics == {"alone_share": 1 / 3}
    assert build("turn_loo", singleton="zero")(batch).value.tolist() == [-4.0, 4.0, 0.0]


@given(seed=SEED, length=st.integers(1, 5), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_rollouts_of_one_length_are_compared_as_by_rloo(random_columns, seed, length, sizes):
    batch = StepBatch(**random_columns(seed, [[length] * size for size in sizes]))
    by_turn = build("turn_loo", singleton="zero")(batch).value
    np.testing.assert_allclose(by_turn, build("rloo")(batch).value, rtol=1e-9, atol=1e-9)


def test_the_default_is_the_sources():
    assert build("turn_loo").singleton == "raw"
    with pytest.raises(ValueError, match="has no option 'norm'"):
        build("turn_loo", norm="mean")
