"""Options that reproduce the public GiGPO code: row statistics, row penalty, raw singletons, similar states."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import Needs, StepBatch, build, needs
from tests.estimators.slow import returns, within_visits

LENGTHS = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=4)
SEED = st.integers(0, 2**32 - 1)
PUBLIC = {"episode_stats": "row", "penalty": "row", "singleton": "raw"}


def public_episode(batch, norm, leave_one_out=False):
    """Row by row over lists, as the public code runs: a list of one row has mean 0 and std 1."""
    cost = 0.1 * batch.invalid
    score = np.array([batch.reward[batch.trajectory == who].sum() for who in batch.trajectory]) - cost
    lists = {}
    for i in range(len(batch)):
        lists.setdefault(batch.group[i], []).append(score[i])
    result = np.zeros(len(batch))
    for i in range(len(batch)):
        values = lists[batch.group[i]]
        n = len(values)
        mean, std = (np.mean(values), np.std(values, ddof=1)) if n > 1 else (0.0, 1.0)
        if n > 1 and np.ptp(values) < 1e-6 * max(1.0, abs(mean)):
            continue  # there the public float32 sums leave rounding; ours is 0
        if leave_one_out:
            result[i] = score[i] if n == 1 else (score[i] - mean) * n / (n - 1)
        else:
            result[i] = (score[i] - mean) / (std + 1e-6 if norm == "mean_std" and n > 1 else 1.0)
    return result


@given(seed=SEED, lengths=LENGTHS, norm=st.sampled_from(["mean", "mean_std"]))
def test_grpo_and_gigpo_equal_the_public_code_row_by_row(random_columns, seed, lengths, norm):
    batch = StepBatch(**random_columns(seed, lengths))
    episode = public_episode(batch, norm)
    np.testing.assert_allclose(build("grpo", norm=norm, **PUBLIC)(batch).value, episode, rtol=1e-9, atol=1e-9)
    step = within_visits(batch, returns(batch, 0.95, batch.reward) - 0.1 * batch.invalid, norm)
    np.testing.assert_allclose(build("gigpo", norm=norm, **PUBLIC)(batch).value, episode + step, rtol=1e-9, atol=1e-9)


@given(seed=SEED, lengths=LENGTHS)
def test_rloo_equals_the_public_code_row_by_row(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    expected = public_episode(batch, "mean", leave_one_out=True)
    np.testing.assert_allclose(build("rloo", **PUBLIC)(batch).value, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["grpo", "rloo", "gigpo"])
@pytest.mark.parametrize("stats", ["trajectory", "row"])
def test_a_group_of_one_row_keeps_its_return_only_when_asked(rows, name, stats):
    batch = rows(group=[0, 1, 1], reward=[9.0, 1.0, 1.0])
    assert build(name, episode_stats=stats, singleton="raw")(batch).value.tolist() == [9.0, 0.0, 0.0]
    assert build(name, episode_stats=stats)(batch).value.tolist() == [0.0, 0.0, 0.0]


def test_by_trajectory_a_group_of_one_long_rollout_keeps_its_return(rows):
    batch = rows(trajectory=[0, 0], time=[0, 1], reward=[1.0, 8.0])
    assert build("grpo", singleton="raw")(batch).value.tolist() == [9.0, 9.0]
    assert build("grpo", singleton="raw", episode_stats="row")(batch).value.tolist() == [0.0, 0.0]


def test_a_repaired_rollout_that_is_alone_in_its_group_keeps_its_return_with_the_bonus(rows):
    batch = rows(reward=[4.0], repair=[0.5], edited=[False])
    assert build("ibpo", singleton="raw")(batch).value.tolist() == [4.0 + 0.6 * 10.0 * 0.5]
    assert build("ibpo")(batch).value.tolist() == [0.0]


def test_similar_states_are_one_anchor_group(rows):
    # States 0 and 1 are similar, 2 is not: G 8 and 0 are compared, +-4 at A_S. A_E of three rollouts: mean 4.
    batch = rows(reward=[8.0, 0.0, 4.0], state=[0, 1, 2], similar=[5, 5, 6])
    assert build("gigpo", norm="mean", similarity=0.9)(batch).value.tolist() == [8.0, -8.0, 0.0]
    assert build("gigpo", norm="mean")(batch).value.tolist() == [4.0, -4.0, 0.0]


def test_similar_states_of_two_groups_are_two_anchors(rows):
    batch = rows(group=[0, 0, 1, 1], reward=[4.0, 0.0, 64.0, 0.0], similar=[1, 1, 1, 1])
    assert build("gigpo", norm="mean", similarity=0.9)(batch).value.tolist() == [4.0, -4.0, 64.0, -64.0]


def test_gigpo_needs_similar_states_for_a_similarity_below_1_alone():
    assert needs(build("gigpo")) == Needs(group_based=True)
    similar = Needs(columns=frozenset({"similar"}), similarity=0.9, group_based=True)
    assert needs(build("gigpo", similarity=0.9)) == similar


def test_a_missing_column_of_similar_states_is_named_with_the_remedy(rows):
    with pytest.raises(ValueError, match=r"gigpo with similarity=0.9 needs similar, .*or set similarity=1"):
        build("gigpo", similarity=0.9)(rows(reward=[1.0]))
