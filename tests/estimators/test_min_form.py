"""The min form: compared with loops, a worked example and limiting cases."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch, build
from tests.estimators.slow import within_group

LENGTHS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def slow(batch, norm, penalty):
    cost = 0.1 * batch.invalid
    reward = batch.reward - (cost if penalty == "return" else 0.0)
    least = np.zeros(len(batch))
    for i in range(len(batch)):
        least[i] = reward[(batch.trajectory == batch.trajectory[i]) & (batch.time >= batch.time[i])].min()
    return within_group(batch, least - (cost if penalty == "row" else 0.0), norm)


@given(
    seed=SEED,
    lengths=LENGTHS,
    norm=st.sampled_from(["mean", "mean_std"]),
    penalty=st.sampled_from(["return", "row"]),
    omega=st.sampled_from([0.5, 1.0]),
)
def test_min_form_equals_the_formula_in_loops(random_columns, seed, lengths, norm, penalty, omega):
    batch = StepBatch(**random_columns(seed, lengths))
    fast = build("min_form", norm=norm, penalty=penalty, omega=omega)(batch).value
    episode = build("grpo", norm=norm, penalty=penalty)(batch).value
    np.testing.assert_allclose(fast, episode + omega * slow(batch, norm, penalty), rtol=1e-9, atol=1e-9)


def test_all_steps_before_a_bad_one_get_its_reward(rows):
    # Rewards 4 -2 6 of one rollout, 2 of the other: minima to come -2 -2 6 and 2, mean 1. R = 8 and 2: A_E +-3.
    batch = rows(trajectory=[0, 0, 0, 1], time=[0, 1, 2, 0], reward=[4.0, -2.0, 6.0, 2.0])
    result = build("min_form", norm="mean")(batch)
    assert result.value.tolist() == [3.0 - 3.0, 3.0 - 3.0, 3.0 + 5.0, -3.0 + 1.0]
    assert result.diagnostics == {"flat_group_share": 0.0}


@given(seed=SEED, lengths=LENGTHS)
def test_omega_0_is_grpo_exactly(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    assert build("min_form", omega=0.0)(batch).value.tolist() == build("grpo")(batch).value.tolist()


@given(seed=SEED, lengths=st.lists(st.just(1), min_size=2, max_size=6))
def test_for_rollouts_of_one_step_min_form_is_twice_grpo(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, [lengths]))
    np.testing.assert_allclose(build("min_form")(batch).value, 2.0 * build("grpo")(batch).value, atol=1e-9)
