"""REINFORCE++: compared with loops, worked examples and limiting cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import Needs, StepBatch, build, needs

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)


def slow(batch, baseline, stats, penalty):
    cost = 0.1 * batch.invalid
    reward = batch.reward - (cost if penalty == "return" else 0.0)
    whole = np.array([reward[batch.trajectory == who].sum() for who in batch.trajectory])
    own = whole - (cost if penalty == "row" else 0.0)
    counted = {}  # what the statistics count: (group, key) -> R
    for i in range(len(batch)):
        key = i if stats == "row" else batch.trajectory[i]
        counted[(batch.group[i], key)] = own[i] if stats == "row" else whole[i]
    if baseline == "group":
        means = {}
        for group in set(batch.group):
            values = [value for (of, _), value in counted.items() if of == group]
            single = len(set(batch.trajectory[batch.group == group])) == 1
            flat = single or max(values) - min(values) < 1e-6 * max(1.0, abs(np.mean(values)))
            means[group] = None if flat else np.mean(values)
        less = lambda group, value: 0.0 if means[group] is None else value - means[group]  # noqa: E731
        counted = {key: less(key[0], value) for key, value in counted.items()}
        own = np.array([less(group, value) for group, value in zip(batch.group, own, strict=True)])
    values = np.array(list(counted.values()))
    if len(values) == 1 or np.ptp(values) < 1e-6 * max(1.0, abs(values.mean())):
        return np.zeros(len(batch))
    return (own - (values.mean() if baseline == "none" else 0.0)) / (values.std(ddof=1) + 1e-6)


@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=LENGTHS,
    baseline=st.sampled_from(["none", "group"]),
    stats=st.sampled_from(["trajectory", "row"]),
    penalty=st.sampled_from(["return", "row"]),
)
def test_reinforce_pp_equals_the_formula_in_loops(random_columns, seed, lengths, baseline, stats, penalty):
    batch = StepBatch(**random_columns(seed, lengths))
    fast = build("reinforce_pp", baseline=baseline, episode_stats=stats, penalty=penalty)(batch)
    np.testing.assert_allclose(fast.value, slow(batch, baseline, stats, penalty), rtol=1e-9, atol=1e-9)


def test_the_batch_is_one_set_whatever_the_groups(rows):
    # R = 8, 0, 4, 4 in two groups: mean 4, squared deviations 32 over n - 1 = 3.
    batch = rows(group=[0, 0, 1, 1], reward=[8.0, 0.0, 4.0, 4.0])
    std = np.sqrt(32.0 / 3.0) + 1e-6
    result = build("reinforce_pp")(batch)
    assert result.value.tolist() == [4.0 / std, -4.0 / std, 0.0, 0.0]
    assert result.diagnostics == {"batch_std": std}


def test_with_a_group_baseline_only_the_scale_is_shared(rows):
    # Deviations 4, -4 and 1, -1: squares 34 over 3.
    batch = rows(group=[0, 0, 1, 1], reward=[8.0, 0.0, 101.0, 99.0])
    std = np.sqrt(34.0 / 3.0) + 1e-6
    result = build("reinforce_pp", baseline="group")(batch)
    assert result.value.tolist() == [4.0 / std, -4.0 / std, 1.0 / std, -1.0 / std]
    assert result.diagnostics == {"flat_group_share": 0.0, "batch_std": std}


def test_a_flat_group_and_a_group_of_one_get_exactly_0_with_a_group_baseline(rows):
    # The deviations of 0.1, 0.2 and 0.6 do not sum to 0 in floats.
    batch = rows(group=[0, 0, 0, 1, 1, 1, 2], reward=[0.1, 0.2, 0.6, 9.025, 9.025, 9.025, 3.0])
    result = build("reinforce_pp", baseline="group")(batch)
    assert result.value[3:].tolist() == [0.0] * 4
    assert result.diagnostics["flat_group_share"] == 2 / 3


@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(1, 6), min_size=2, max_size=6))
def test_with_one_group_both_baselines_are_grpo(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, [lengths]))
    grpo = build("grpo")(batch).value
    for baseline in ("none", "group"):
        value = build("reinforce_pp", baseline=baseline)(batch).value
        np.testing.assert_allclose(value, grpo, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("baseline", "based"), [("none", False), ("group", True)])
def test_only_the_group_baseline_needs_groups(baseline, based):
    assert needs(build("reinforce_pp", baseline=baseline)) == Needs(group_based=based)
