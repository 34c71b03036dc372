"""iStar: compared with loops, a worked example and limiting cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch, build
from tests.estimators.slow import flat

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def scored(random_columns, seed, lengths):
    columns = random_columns(seed, lengths)
    return columns | {"step_reward": np.random.default_rng(seed).integers(-2, 3, len(columns["time"])) / 4}


def slow(batch, norm, alpha):
    world = build("grpo", norm=norm)(StepBatch(**columns_of(batch, reward=batch.reward - batch.step_reward))).value
    result = np.zeros(len(batch))
    for i in range(len(batch)):
        group = batch.group == batch.group[i]
        earned = batch.step_reward[group]
        if len(set(batch.trajectory[group])) > 1 and not flat(earned):
            result[i] = (batch.step_reward[i] - np.mean(earned)) / (np.std(earned, ddof=1) + 1e-6)
    return world + alpha * result


def columns_of(batch, **other):
    names = ("group", "trajectory", "time", "reward", "invalid", "state", "action")
    return {name: getattr(batch, name) for name in names} | other


@given(seed=SEED, lengths=LENGTHS, norm=st.sampled_from(["mean", "mean_std"]), alpha=st.sampled_from([0.5, 1.0]))
def test_istar_equals_the_formula_in_loops(random_columns, seed, lengths, norm, alpha):
    batch = StepBatch(**scored(random_columns, seed, lengths))
    fast = build("istar", norm=norm, alpha=alpha)(batch).value
    np.testing.assert_allclose(fast, slow(batch, norm, alpha), rtol=1e-9, atol=1e-9)


def test_steps_of_one_rollout_differ_by_what_the_scorer_gave_them(rows):
    # The world pays 10 and 0, the scorer 1, 0 and 2: mean 1, deviation 1.
    batch = rows(trajectory=[0, 0, 1], time=[0, 1, 0], reward=[1.0, 10.0, 2.0], step_reward=[1.0, 0.0, 2.0])
    value = build("istar", norm="mean")(batch).value
    np.testing.assert_allclose(value, [5.0 + 0.0, 5.0 - 1.0, -5.0 + 1.0], atol=1e-5)


@given(seed=SEED, lengths=LENGTHS)
def test_without_a_step_term_or_step_rewards_that_differ_istar_is_grpo_of_the_world(random_columns, seed, lengths):
    batch = StepBatch(**scored(random_columns, seed, lengths))
    grpo = build("grpo", episode_rewards="world")(batch).value
    assert build("istar", alpha=0.0)(batch).value.tolist() == grpo.tolist()
    same = StepBatch(**columns_of(batch, step_reward=np.ones(len(batch))))
    grpo = build("grpo", episode_rewards="world")(same).value
    assert build("istar")(same).value.tolist() == grpo.tolist()


def test_a_batch_without_step_rewards_is_refused(rows):
    with pytest.raises(ValueError, match="istar needs step_reward"):
        build("istar")(rows(trajectory=[0, 1]))
