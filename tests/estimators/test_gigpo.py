"""GiGPO: compared with loops, a worked example and limiting cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch, build
from tests.estimators.slow import returns, rewards, within_visits

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)


@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=LENGTHS,
    norm=st.sampled_from(["mean", "mean_std"]),
    penalty=st.sampled_from(["return", "row"]),
    gamma=st.sampled_from([0.5, 0.95, 1.0]),
    omega=st.sampled_from([0.5, 1.0]),
)
def test_gigpo_equals_the_formula_in_loops(random_columns, seed, lengths, norm, penalty, gamma, omega):
    batch = StepBatch(**random_columns(seed, lengths))
    fast = build("gigpo", gamma=gamma, omega=omega, norm=norm, penalty=penalty)(batch).value
    episode = build("grpo", norm=norm, penalty=penalty)(batch).value
    # The penalty is of the step's reward, or taken from its return.
    by_row = returns(batch, gamma, batch.reward) - 0.1 * batch.invalid
    step = within_visits(batch, by_row if penalty == "row" else returns(batch, gamma, rewards(batch)), norm)
    np.testing.assert_allclose(fast, episode + omega * step, rtol=1e-9, atol=1e-9)


def test_a_worked_example_of_gigpo(rows):
    # Two rollouts of two steps meet in state 0 only. R = 8, 0: A_E = +-4. G = [4, 8], [0, 0] at gamma 1/2:
    # in state 0 the returns are 4 and 0, A_S = +-2; states 1 and 2 are singletons, A_S = 0.
    batch = rows(trajectory=[0, 0, 1, 1], time=[0, 1, 0, 1], reward=[0.0, 8.0, 0.0, 0.0], state=[0, 1, 0, 2])
    result = build("gigpo", gamma=0.5, norm="mean")(batch)
    assert result.value.tolist() == [6.0, 4.0, -6.0, -4.0]
    assert build("gigpo", gamma=0.5, norm="mean", omega=2.0)(batch).value.tolist() == [8.0, 4.0, -8.0, -4.0]
    assert result.diagnostics["singleton_share"] == 2 / 3
    assert result.diagnostics["largest_cluster_share"] == 0.5
    assert result.diagnostics["flat_group_share"] == 0.0


def test_equal_states_of_two_groups_are_two_anchors(rows):
    batch = rows(group=[0, 0, 1, 1], reward=[4.0, 0.0, 64.0, 0.0])
    assert build("gigpo", norm="mean")(batch).value.tolist() == [4.0, -4.0, 64.0, -64.0]


@given(seed=st.integers(0, 2**32 - 1), lengths=LENGTHS)
def test_omega_0_is_grpo_exactly(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    assert build("gigpo", omega=0.0)(batch).value.tolist() == build("grpo")(batch).value.tolist()


@given(seed=st.integers(0, 2**32 - 1), lengths=LENGTHS)
def test_without_repeated_states_gigpo_is_grpo_exactly(random_columns, seed, lengths):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**{**columns, "state": np.arange(len(columns["state"]))})
    assert build("gigpo")(batch).value.tolist() == build("grpo")(batch).value.tolist()


@pytest.mark.parametrize("norm", ["mean", "mean_std"])
def test_one_step_rollouts_in_one_state_get_the_episode_term_twice(rows, norm):
    batch = rows(reward=[8.0, 0.0, 4.0, 4.0])
    twice = 2.0 * build("grpo", norm=norm)(batch).value
    assert build("gigpo", norm=norm)(batch).value.tolist() == twice.tolist()
