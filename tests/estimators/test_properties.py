"""What every group estimator keeps: shift, order, separation of groups, silence without spread."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import ESTIMATORS, StepBatch, build, group_based

LENGTHS = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=2, max_size=3)
SEED = st.integers(0, 2**32 - 1)
NAMES = sorted(ESTIMATORS)
every_estimator = pytest.mark.parametrize("name", NAMES)


def undiscounted(name):
    """The estimator with gamma 1 where it has one, so that a reward at the end counts alike in all returns."""
    return build(name, gamma=1.0) if name in {"gigpo", "bipace"} else build(name)


def last_steps(columns):
    longest = {who: columns["time"][columns["trajectory"] == who].max() for who in set(columns["trajectory"])}
    return np.array([time == longest[who] for who, time in zip(columns["trajectory"], columns["time"], strict=True)])


@every_estimator
@given(seed=SEED, lengths=LENGTHS, shift=st.integers(-20, 20))
def test_adding_a_constant_to_all_returns_of_a_group_changes_nothing(random_columns, name, seed, lengths, shift):
    columns = random_columns(seed, lengths)
    shifted = columns["reward"] + shift * (last_steps(columns) & (columns["group"] == 10))
    plain = undiscounted(name)(StepBatch(**columns)).value
    np.testing.assert_allclose(undiscounted(name)(StepBatch(**{**columns, "reward": shifted})).value, plain, atol=1e-8)


@every_estimator
@given(seed=SEED, lengths=LENGTHS)
def test_row_order_changes_nothing_to_the_last_bit(random_columns, name, seed, lengths):
    columns = random_columns(seed, lengths)
    order = np.random.default_rng(seed).permutation(len(columns["time"]))
    plain = build(name)(StepBatch(**columns))
    moved = build(name)(StepBatch(**{column: value[order] for column, value in columns.items()}))
    assert moved.value.tolist() == plain.value[order].tolist()
    assert moved.diagnostics == plain.diagnostics


@every_estimator
@given(seed=SEED, lengths=LENGTHS)
def test_a_group_gets_the_same_credit_alone_as_among_others(random_columns, name, seed, lengths):
    columns = random_columns(seed, lengths)
    inside = columns["group"] == 10
    alone = build(name)(StepBatch(**{column: value[inside] for column, value in columns.items()}))
    assert alone.value.tolist() == build(name)(StepBatch(**columns)).value[inside].tolist()


@every_estimator
@pytest.mark.parametrize("norm", ["mean", "mean_std"])
@given(seed=SEED, lengths=LENGTHS, level=st.sampled_from([9.025, 0.1, -3.3, 1e6 / 3]))
def test_equal_returns_give_exactly_0(random_columns, name, norm, seed, lengths, level):
    columns = random_columns(seed, lengths)
    columns |= {"reward": level * last_steps(columns), "invalid": np.zeros(len(columns["time"]), bool)}
    options = {} if name == "rloo" else {"norm": norm}
    options |= {"gamma": 1.0} if name in {"gigpo", "bipace"} else {}
    assert not build(name, **options)(StepBatch(**columns)).value.any()


@every_estimator
@pytest.mark.parametrize("stats", ["trajectory", "row"])
@pytest.mark.parametrize("penalty", ["return", "row"])
def test_a_lone_rollout_gets_exactly_0_in_every_mode(rows, name, stats, penalty):
    batch = rows(
        trajectory=[0, 0, 0],
        time=[0, 1, 2],
        reward=[0.0, 0.0, 9.0],
        invalid=[True, False, False],
        state=[0, 1, 2],
        embedding=np.eye(3, dtype=np.float32),
    )
    assert build(name, episode_stats=stats, penalty=penalty)(batch).value.tolist() == [0.0, 0.0, 0.0]


@every_estimator
def test_a_group_estimator_says_so(name):
    assert group_based(build(name))


@every_estimator
@given(seed=SEED, lengths=LENGTHS)
def test_the_batch_is_left_as_it_was(random_columns, name, seed, lengths):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**{column: value.copy() for column, value in columns.items()})
    build(name)(batch)
    assert all(np.array_equal(getattr(batch, column), value) for column, value in columns.items())
