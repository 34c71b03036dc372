"""GRPO and RLOO: compared with loops, and worked examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import Needs, StepBatch, build, needs

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
OPTIONS = {
    "episode_stats": st.sampled_from(["trajectory", "row"]),
    "penalty": st.sampled_from(["return", "row"]),
    "invalid_penalty": st.sampled_from([0.0, 0.1, 0.5]),
}


def counted_returns(batch, options):
    """Own R of each row, and for each row's group the list of (trajectory, R) that the statistics count."""
    cost = options["invalid_penalty"] * batch.invalid
    rewards = batch.reward - (cost if options["penalty"] == "return" else 0.0)
    whole = {who: sum(rewards[batch.trajectory == who]) for who in set(batch.trajectory)}
    own = np.array([whole[who] for who in batch.trajectory]) - (cost if options["penalty"] == "row" else 0.0)
    counted = {}
    for group in set(batch.group):
        inside = np.flatnonzero(batch.group == group)
        if options["episode_stats"] == "row":
            counted[group] = [(i, own[i]) for i in inside]
        else:
            counted[group] = [(who, whole[who]) for who in sorted(set(batch.trajectory[inside]))]
    single = {group: len(set(batch.trajectory[batch.group == group])) == 1 for group in counted}
    return own, counted, single


def flat(values):
    return max(values) - min(values) < 1e-6 * max(1.0, abs(np.mean(values)))


def slow_grpo(batch, norm, **options):
    own, counted, single = counted_returns(batch, options)
    result = np.zeros(len(batch))
    for i, group in enumerate(batch.group):
        values = [value for _, value in counted[group]]
        if not single[group] and not flat(values):
            scale = np.std(values, ddof=1) + 1e-6 if norm == "mean_std" else 1.0
            result[i] = (own[i] - np.mean(values)) / scale
    return result


def slow_rloo(batch, **options):
    own, counted, single = counted_returns(batch, options)
    result = np.zeros(len(batch))
    for i, group in enumerate(batch.group):
        me = i if options["episode_stats"] == "row" else batch.trajectory[i]
        others = [value for who, value in counted[group] if who != me]
        if not single[group] and not flat([value for _, value in counted[group]]):
            result[i] = own[i] - np.mean(others)
    return result


@given(seed=st.integers(0, 2**32 - 1), lengths=LENGTHS, norm=st.sampled_from(["mean", "mean_std"]), **OPTIONS)
def test_grpo_equals_the_formula_in_loops(random_columns, seed, lengths, norm, **options):
    batch = StepBatch(**random_columns(seed, lengths))
    fast = build("grpo", norm=norm, **options)(batch)
    np.testing.assert_allclose(fast.value, slow_grpo(batch, norm, **options), rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), lengths=LENGTHS, **OPTIONS)
def test_rloo_equals_the_formula_in_loops(random_columns, seed, lengths, **options):
    batch = StepBatch(**random_columns(seed, lengths))
    np.testing.assert_allclose(build("rloo", **options)(batch).value, slow_rloo(batch, **options), rtol=1e-9, atol=1e-9)


def test_a_worked_example_of_grpo(rows):
    # R = 8, 0, 4, 4: mean 4; squared deviations 16 + 16 over n - 1 = 3.
    batch = rows(reward=[8.0, 0.0, 4.0, 4.0])
    assert build("grpo", norm="mean")(batch).value.tolist() == [4.0, -4.0, 0.0, 0.0]
    std = np.sqrt(32.0 / 3.0) + 1e-6
    assert build("grpo")(batch).value.tolist() == [4.0 / std, -4.0 / std, 0.0, 0.0]


def test_a_worked_example_of_rloo(rows):
    # The others of the first: (0 + 0) / 2, of a zero: (8 + 0) / 2.
    assert build("rloo")(rows(reward=[8.0, 0.0, 0.0])).value.tolist() == pytest.approx([8.0, -4.0, -4.0], abs=1e-12)


def test_two_rollouts_of_rloo_get_the_difference(rows):
    assert build("rloo")(rows(reward=[8.0, 2.0])).value.tolist() == [6.0, -6.0]


def test_every_step_of_a_rollout_gets_the_same_credit(rows):
    batch = rows(trajectory=[0, 0, 1], time=[0, 1, 0], reward=[0.0, 8.0, 0.0])
    assert build("grpo", norm="mean")(batch).value.tolist() == [4.0, 4.0, -4.0]


def test_a_row_penalty_lowers_its_row_and_not_the_statistics_by_trajectory(rows):
    batch = rows(trajectory=[0, 0, 1], time=[0, 1, 0], reward=[0.0, 8.0, 0.0], invalid=[True, False, False])
    options = {"penalty": "row", "invalid_penalty": 0.5}
    assert build("grpo", norm="mean", **options)(batch).value.tolist() == [3.5, 4.0, -4.0]
    assert build("rloo", **options)(batch).value.tolist() == [7.5, 8.0, -8.0]


@pytest.mark.parametrize("name", ["grpo", "rloo"])
def test_flat_group_share_counts_groups_without_spread(rows, name):
    batch = rows(group=[0, 0, 1, 1, 2, 3, 3], reward=[1.0, 1.0, 0.0, 1.0, 5.0, 2.0, 2.0])
    assert build(name)(batch).diagnostics == {"flat_group_share": 0.75}


@pytest.mark.parametrize("name", ["grpo", "rloo"])
def test_grpo_and_rloo_need_groups_and_nothing_else(name):
    assert needs(build(name)) == Needs(group_based=True)
