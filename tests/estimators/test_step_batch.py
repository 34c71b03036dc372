"""Checks of `StepBatch` and `Advantages`: what breaks a rule is refused with its row, its value and the remedy."""

import doctest
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import estimators.base
from estimators import UNPARSED, Advantages, StepBatch

GOOD = {
    "group": [0, 0, 0, 1],
    "trajectory": [3, 3, 5, 8],
    "time": [1, 0, 0, 0],
    "reward": [1.0, 0.0, 0.5, 2.0],
    "invalid": [False, False, True, False],
    "state": [0, 1, 0, 0],
    "action": [2, UNPARSED, 2, 1],
    "embedding": np.eye(4, dtype=np.float32),
    "repair": [0.5, 0.5, 0.0, 1.0],
    "edited": [True, False, False, False],
    "milestone": [2, 1, 0, 0],
}


def with_row(name, row, value):
    changed = np.array(GOOD[name])
    changed[row] = value
    return {**GOOD, name: changed}


def with_tokens(lens, count):
    return {**GOOD, "response_tokens": lens, "token_values": np.zeros(count)}


BAD = [
    ({**GOOD, "group": []}, r"group has no rows"),
    ({**GOOD, "group": 3}, r"group has shape \(\)"),
    ({**GOOD, "reward": [1.0, 0.0]}, r"reward has 2 rows where 4 are due"),
    (
        {**GOOD, "reward": None},
        r"reward is None: only edited, embedding, milestone, repair, response_tokens, similar, step_reward, switch, "
        r"token_values, values",
    ),
    ({**GOOD, "embedding": np.ones(4, np.float32)}, r"embedding has shape \(4,\): give it 2 axes"),
    ({**GOOD, "state": ["a", "b", "c", "d"]}, r"state has dtype <U1: give it int64"),
    ({**GOOD, "state": [0.0, 1.0, 0.25, 0.5]}, r"row 2: state=0.25 does not fit int64"),
    ({**GOOD, "state": [0.0, float("nan"), 0.0, 0.0]}, r"row 1: state=nan does not fit int64"),
    ({**GOOD, "state": np.array([0, 0, 2**63, 0], np.uint64)}, r"row 2: state=9223372036854775808 does not fit int64"),
    ({**GOOD, "reward": [0, 0, 2**53 + 1, 0]}, r"row 2: reward=9007199254740993 does not fit float64"),
    ({**GOOD, "invalid": [0, 1, 2, 0]}, r"row 2: invalid=2 does not fit bool"),
    ({**GOOD, "embedding": np.full((4, 2), 0.1)}, r"row 0: embedding=0.1 does not fit float32"),
    (with_row("reward", 2, np.nan), r"row 2: reward=nan is not finite: drop the rollout"),
    (with_row("reward", 3, -np.inf), r"row 3: reward=-inf is not finite"),
    (with_row("time", 0, 0), r"row 1: trajectory=3 time=0 occurs twice"),
    (with_row("time", 0, 2), r"row 0: trajectory=3 time=2 leaves a gap"),
    (with_row("time", 3, 1), r"row 3: trajectory=8 time=1 leaves a gap"),
    (with_row("time", 1, -1), r"row 1: trajectory=3 time=-1 leaves a gap"),
    (with_row("group", 0, 1), r"row 0: trajectory=3 group=1 puts the trajectory in a second group"),
    (with_row("embedding", 2, 0.0), r"row 2: embedding has squared length 0.0 .*check the layer"),
    (with_row("embedding", 1, np.nan), r"row 1: embedding has squared length nan"),
    ({**GOOD, "embedding": np.diag([1.0, np.nan, 1.0, 1.0])}, r"row 1: embedding has squared length nan in float32"),
    ({**GOOD, "embedding": np.diag([1.0, 1e300, 1.0, 1.0])}, r"row 1: embedding=1e\+300 does not fit float32"),
    (with_row("embedding", 1, 1e30), r"row 1: embedding has squared length inf"),
    (with_row("repair", 2, 1.5), r"row 2: repair=1.5 is not in \[0, 1\]"),
    (with_row("repair", 2, np.nan), r"row 2: repair=nan is not in \[0, 1\]"),
    (with_row("repair", 0, 0.25), r"row 0: repair=0.25 differs from an earlier step of trajectory 3"),
    ({**GOOD, "values": [0.0, np.inf, 0.0, 0.0]}, r"row 1: values=inf is not finite"),
    ({**GOOD, "token_values": [0.0]}, r"response_tokens and token_values come together: give both"),
    (with_tokens([1, 0, 1, 1], 3), r"row 1: response_tokens=0: every response has at least 1"),
    (with_tokens([1, 2, 1, 1], 4), r"token_values has 4 entries: response_tokens sums to 5"),
    ({**with_tokens([1, 1, 1, 1], 4), "token_values": [0, np.nan, 0, 0]}, r"row 1: token_values=nan is not finite"),
    ({**GOOD, "edited": [True]}, r"edited has 1 rows where 4 are due"),
    (with_row("milestone", 2, -1), r"row 2: milestone=-1 in trajectory 5 is below 0: count what was reached"),
    (with_row("milestone", 0, 0), r"row 0: milestone=0 in trajectory 3 is below 1: count what was reached"),
]


@pytest.mark.parametrize(("columns", "message"), BAD, ids=[message for _, message in BAD])
def test_a_broken_batch_is_refused_with_the_row_the_value_and_the_remedy(columns, message):
    with pytest.raises(ValueError, match=message):
        StepBatch(**columns)


def test_repair_may_differ_from_rollout_to_rollout_but_not_within_a_later_one():
    two = {**GOOD, "group": [0, 0, 0, 0], "trajectory": [3, 3, 8, 8], "time": [1, 0, 0, 1]}
    StepBatch(**{**two, "repair": [0.5, 0.5, 0.0, 0.0]})
    with pytest.raises(ValueError, match=r"row 3: repair=1\.0 differs from an earlier step of trajectory 8"):
        StepBatch(**two)


def test_a_batch_cuts_its_rollouts_and_groups_in_canonical_order():
    batch = StepBatch(**GOOD)
    assert len(batch) == 4
    assert batch.rollouts.order.tolist() == [1, 0, 2, 3]
    assert batch.rollouts.label.tolist() == [0, 0, 1, 2]
    assert batch.groups.label.tolist() == [0, 0, 0, 1]
    assert batch.siblings.size.tolist() == [2, 1]


def test_canonical_order_puts_groups_before_trajectories():
    batch = StepBatch(**{**GOOD, "group": [9, 9, 1, 4]})
    assert batch.groups.order.tolist() == [2, 3, 1, 0]
    assert batch.rollouts.order.tolist() == [2, 3, 1, 0]


@pytest.mark.parametrize(
    ("name", "given", "dtype"),
    [
        ("group", np.array([0, 0, 0, 1], np.int32), np.int64),
        ("reward", np.array([1, 0, 0, 2], np.int8), np.float64),
        ("reward", np.array([1, 0, 0.5, 2], np.float32), np.float64),
        ("state", np.array([0.0, 1.0, 0.0, 0.0]), np.int64),
        ("invalid", [0, 0, 1, 0], np.bool_),
        ("embedding", np.eye(4, dtype=np.float16), np.float32),
    ],
)
def test_a_column_is_coerced_where_no_value_changes(name, given, dtype):
    column = getattr(StepBatch(**{**GOOD, name: given}), name)
    assert column.dtype == dtype
    assert np.array_equal(column, given)


def test_columns_are_read_only_while_the_callers_array_stays_writeable():
    reward = np.array(GOOD["reward"])
    batch = StepBatch(**{**GOOD, "reward": reward})
    with pytest.raises(ValueError, match="read-only"):
        batch.reward[0] = 7.0
    with pytest.raises(FrozenInstanceError):
        batch.reward = reward
    reward[0] = 3.0


def test_a_batch_survives_pickling_as_ray_sends_it():
    batch = pickle.loads(pickle.dumps(StepBatch(**GOOD)))
    assert batch.rollouts.order.tolist() == [1, 0, 2, 3]
    assert batch.embedding.tolist() == np.eye(4).tolist()


def test_advantages_refuse_what_is_not_finite_and_a_mask_of_another_length():
    with pytest.raises(ValueError, match="row 1: value=nan is not finite"):
        Advantages(value=np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match=r"^value has dtype <U1: give it float64"):
        Advantages(value=["a", "b"])
    with pytest.raises(ValueError, match="mask has 1 rows"):
        Advantages(value=np.zeros(2), mask=np.array([True]))
    with pytest.raises(ValueError, match="returns has 1 rows"):
        Advantages(value=np.zeros(2), returns=[1.0])
    with pytest.raises(ValueError, match="returns has 2 rows where 3 are due"):
        Advantages(value=np.zeros(2), token_value=np.zeros(3), returns=[1.0, 0.0])
    with pytest.raises(ValueError, match="row 0: returns=inf is not finite"):
        Advantages(value=np.zeros(2), returns=[np.inf, 0.0])
    assert Advantages(value=[1, 0], mask=[1, 0]).mask.dtype == np.bool_
    assert Advantages(value=np.zeros(2, np.float32)).value.dtype == np.float64
    assert Advantages(value=np.zeros(2)).diagnostics == {}


def test_the_example_in_the_docstring_holds():
    result = doctest.testmod(estimators.base)
    assert (result.attempted, result.failed) == (1, 0)
