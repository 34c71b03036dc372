"""IBPO: compared with loops, worked examples and refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import ESTIMATORS, Needs, StepBatch, build, needs

LENGTHS = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def revised_columns(random_columns, seed, lengths):
    """Random columns where some rollouts pay 10 at the end, and some of the others were repaired."""
    columns = random_columns(seed, lengths)
    rng = np.random.default_rng(seed)
    columns |= {"reward": np.zeros(len(columns["time"])), "edited": rng.random(len(columns["time"])) < 0.5}
    for who in set(columns["trajectory"]):
        inside = columns["trajectory"] == who
        won = rng.random() < 0.4
        last = inside & (columns["time"] == columns["time"][inside].max())
        columns["reward"][last] = 10.0 if won else rng.choice([0.0, 4.0])
        columns["repair"][inside] = 0.0 if won else rng.choice([0.0, 0.5, 1.0])
    return columns


def slow(batch, boost, norm):
    cost, value, mask = 0.1 * batch.invalid, np.zeros(len(batch)), np.ones(len(batch), bool)
    lifted, failed = {}, {}
    for who in set(batch.trajectory):
        inside = batch.trajectory == who
        failed[who] = batch.reward[inside].sum() < 10.0
        lifted[who] = (batch.reward - cost)[inside].sum() + boost * 10.0 * batch.repair[inside][0]
    for i, who in enumerate(batch.trajectory):
        values = [lifted[other] for other in sorted(set(batch.trajectory[batch.group == batch.group[i]]))]
        if len(values) > 1 and np.ptp(values) >= 1e-6 * max(1.0, abs(np.mean(values))):
            scale = np.std(values, ddof=1) + 1e-6 if norm == "mean_std" else 1.0
            value[i] = (lifted[who] - np.mean(values)) / scale
        if failed[who] and (value[i] > 0.0 or (batch.repair[i] > 0.0 and not batch.edited[i])):
            mask[i] = False
    return value, mask


@given(seed=SEED, lengths=LENGTHS, boost=st.sampled_from([0.0, 0.6]), norm=st.sampled_from(["mean", "mean_std"]))
def test_ibpo_equals_the_formula_in_loops(random_columns, seed, lengths, boost, norm):
    batch = StepBatch(**revised_columns(random_columns, seed, lengths))
    fast = build("ibpo", boost=boost, norm=norm)(batch)
    value, mask = slow(batch, boost, norm)
    np.testing.assert_allclose(fast.value, value, rtol=1e-9, atol=1e-9)
    assert fast.mask.tolist() == mask.tolist()


@given(seed=SEED, lengths=LENGTHS)
def test_without_repairs_ibpo_is_grpo_exactly(random_columns, seed, lengths):
    columns = revised_columns(random_columns, seed, lengths)
    batch = StepBatch(**{**columns, "repair": np.zeros(len(columns["time"]))})
    assert build("ibpo")(batch).value.tolist() == build("grpo")(batch).value.tolist()


@given(seed=SEED, lengths=LENGTHS)
def test_boost_0_is_grpo_exactly(random_columns, seed, lengths):
    batch = StepBatch(**revised_columns(random_columns, seed, lengths))
    assert build("ibpo", boost=0.0)(batch).value.tolist() == build("grpo")(batch).value.tolist()


@given(seed=SEED, lengths=LENGTHS)
def test_no_failure_outranks_a_success_of_its_group(random_columns, seed, lengths):
    columns = revised_columns(random_columns, seed, lengths)
    columns |= {
        "reward": np.where(columns["reward"] == 4.0, 0.0, columns["reward"]),
        "invalid": columns["edited"] & False,
    }
    batch = StepBatch(**columns)
    value = build("ibpo")(batch).value
    won = np.array([batch.reward[batch.trajectory == who].sum() == 10.0 for who in batch.trajectory])
    for group in set(batch.group):
        inside = batch.group == group
        if (inside & won).any() and (inside & ~won).any():
            assert value[inside & won].min() > value[inside & ~won].max()


def test_a_worked_example_of_ibpo(rows):
    # R = 10, 0, 0 and 0; the second was half repaired by changing its second step: R' = 10, 0.6 * 10 * 0.5 = 3, 0, 0.
    batch = rows(
        trajectory=[0, 1, 1, 2, 3],
        time=[0, 0, 1, 0, 0],
        reward=[10.0, 0.0, 0.0, 0.0, 0.0],
        repair=[0.0, 0.5, 0.5, 0.0, 0.0],
        edited=[False, False, True, False, False],
    )
    result = build("ibpo", norm="mean")(batch)
    assert result.value.tolist() == [6.75, -0.25, -0.25, -3.25, -3.25]
    assert result.mask.tolist() == [True, False, True, True, True]
    assert result.diagnostics == {
        "flat_group_share": 0.0,
        "success_share": 0.25,
        "repaired_share": 0.25,
        "repair_mean": 0.5,
        "variance_bound": 0.6 * 0.5 / 2 * 0.75,
        "masked_share": 0.2,
    }


def test_an_all_failed_group_does_not_reinforce_the_edited_error(rows):
    # R' = 6 and 0: the repaired failure has a positive advantage, so not even its edited step gives gradient.
    batch = rows(reward=[0.0, 0.0], repair=[1.0, 0.0], edited=[True, False])
    result = build("ibpo", norm="mean")(batch)
    assert result.value.tolist() == [3.0, -3.0]
    assert result.mask.tolist() == [False, True]


@pytest.mark.parametrize("edited", [False, True])
def test_a_success_keeps_its_gradient_edited_or_not(rows, edited):
    batch = rows(reward=[10.0, 0.0], repair=[0.0, 0.0], edited=[edited, False])
    assert build("ibpo")(batch).mask.tolist() == [True, True]


@given(p=st.integers(1, 7), repaired=st.integers(0, 7))
def test_the_variance_falls_exactly_where_p_exceeds_the_bound(rows, p, repaired):
    # n rollouts, p of them successes, some failures fully repaired.
    n, repaired = 8, min(repaired, 8 - p)
    reward = np.where(np.arange(n) < p, 10.0, 0.0)
    repair = ((np.arange(n) >= p) & (np.arange(n) < p + repaired)).astype(float)
    batch = rows(reward=reward, repair=repair, edited=np.ones(n, bool))
    diagnostics = build("ibpo")(batch).diagnostics
    lifted = reward + 6.0 * repair
    if repaired:
        gap = diagnostics["success_share"] - diagnostics["variance_bound"]
        assert abs(gap) < 1e-12 or (gap > 0) == (lifted.var() < reward.var())
    else:
        assert (diagnostics["repair_mean"], diagnostics["variance_bound"]) == (0.0, 0.0)


def test_a_return_that_rounding_puts_below_the_success_reward_is_a_success(rows):
    reward = [0.1] * 100  # sums to 9.999999999999998
    batch = rows(
        trajectory=np.zeros(100, int),
        time=np.arange(100),
        reward=reward,
        repair=np.zeros(100),
        edited=np.zeros(100, bool),
    )
    assert build("ibpo")(batch).diagnostics["success_share"] == 1.0


BAD = [
    ({"edited": [False]}, r"ibpo needs repair, the batch has None in all rows: run the revision phase, or take grpo"),
    ({"repair": [0.0]}, r"ibpo needs edited, the batch has None in all rows: run the revision phase"),
    ({"repair": [0.5], "edited": [True]}, r"row 0: repair=0.5 on a rollout that succeeded: only failures are revised"),
]


@pytest.mark.parametrize(("columns", "message"), BAD, ids=[message for _, message in BAD])
def test_missing_or_impossible_columns_are_refused_with_the_remedy(rows, columns, message):
    with pytest.raises(ValueError, match=message):
        build("ibpo")(rows(reward=[10.0], **columns))


def test_ibpo_is_the_only_estimator_that_needs_revisions():
    assert needs(build("ibpo")) == Needs(columns=frozenset({"repair", "edited"}), group_based=True)
    assert [name for name in ESTIMATORS if needs(build(name)).revisions] == ["ibpo"]


def test_the_defaults_are_the_papers():
    defaults = build("ibpo")
    assert (defaults.boost, defaults.success_reward, defaults.norm) == (0.6, 10.0, "mean_std")
