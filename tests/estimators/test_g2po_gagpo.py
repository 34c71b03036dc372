"""G2PO and GAGPO: compared with loops, worked examples and limiting cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch, build
from tests.estimators.slow import next_row, returns, rewards, visits, within_group, within_visits

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)
SETTINGS = {
    "gamma": st.sampled_from([0.5, 0.95, 1.0]),
    "norm": st.sampled_from(["mean", "mean_std"]),
    "penalty": st.sampled_from(["return", "row"]),
}


def values(batch, gamma, reward):
    future = returns(batch, gamma, reward)
    return np.array([np.mean(future[visits(batch, i)]) for i in range(len(batch))])


def slow_g2po(batch, gamma, norm, penalty):
    cost = 0.1 * batch.invalid
    reward = batch.reward - cost if penalty == "return" else batch.reward
    value = gamma * values(batch, gamma, reward)
    after = [next_row(batch, i) for i in range(len(batch))]
    action_value = np.array([reward[i] + (value[j] if j is not None else 0.0) for i, j in enumerate(after)])
    node = within_visits(batch, action_value - (cost if penalty == "row" else 0.0), norm)
    return node + within_group(batch, action_value - value, norm)


def slow_gagpo(batch, gamma, trace, norm, penalty):
    cost = 0.1 * batch.invalid
    reward = batch.reward - cost if penalty == "return" else batch.reward
    value = values(batch, gamma, reward)
    credit = np.zeros(len(batch))
    for i in np.argsort(-batch.time, kind="stable"):
        j = next_row(batch, i)
        credit[i] = reward[i] - value[i]
        if j is not None:
            credit[i] += gamma * value[j] + gamma * trace * credit[j]
    return within_group(batch, credit - (cost if penalty == "row" else 0.0), norm)


@given(seed=SEED, lengths=LENGTHS, omega=st.sampled_from([0.5, 1.0]), **SETTINGS)
def test_g2po_equals_the_formula_in_loops(random_columns, seed, lengths, omega, **options):
    batch = StepBatch(**random_columns(seed, lengths))
    fast = build("g2po", omega=omega, **options)(batch).value
    episode = build("grpo", norm=options["norm"], penalty=options["penalty"])(batch).value
    np.testing.assert_allclose(fast, episode + omega * slow_g2po(batch, **options), rtol=1e-9, atol=1e-9)


@given(seed=SEED, lengths=LENGTHS, trace=st.sampled_from([0.0, 0.5, 1.0]), **SETTINGS)
def test_gagpo_equals_the_formula_in_loops(random_columns, seed, lengths, trace, **options):
    batch = StepBatch(**random_columns(seed, lengths))
    fast = build("gagpo", trace=trace, **options)(batch).value
    np.testing.assert_allclose(fast, slow_gagpo(batch, trace=trace, **options), rtol=1e-9, atol=1e-9)


def two_ways(rows):
    """States 0 1 and then 8, states 0 2 and then 0."""
    return rows(trajectory=[0, 0, 1, 1], time=[0, 1, 0, 1], reward=[0.0, 8.0, 0.0, 0.0], state=[0, 1, 0, 2])


def test_a_worked_example_of_g2po(rows):
    # gamma 1/2: G = 4 8 / 0 0. V = half the mean: V(0) = 1, V(1) = 4, V(2) = 0. Q = 4 8 / 0 0, gains 3 4 / -1 0.
    # A_E = +-4; A_node = +-2 in state 0, alone elsewhere; A_edge = gain - 1.5.
    value = build("g2po", gamma=0.5, norm="mean")(two_ways(rows)).value
    assert value.tolist() == [4.0 + 2.0 + 1.5, 4.0 + 2.5, -4.0 - 2.0 - 2.5, -4.0 - 1.5]


def test_a_worked_example_of_gagpo(rows):
    # gamma 1/2: V(0) = (4 + 0) / 2 = 2, V(1) = 8, V(2) = 0. TD errors 0 + 4 - 2 = 2, 8 - 8 = 0; 0 - 2 = -2, 0.
    # Their mean is 0, and with trace 1 nothing changes, since the later errors are 0.
    for trace in (0.0, 1.0):
        assert build("gagpo", gamma=0.5, trace=trace, norm="mean")(two_ways(rows)).value.tolist() == [
            2.0,
            0.0,
            -2.0,
            0.0,
        ]


@given(seed=SEED, lengths=LENGTHS)
def test_trace_1_is_the_return_against_the_states_mean(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    reward = rewards(batch)
    expected = within_group(batch, returns(batch, 0.95, reward) - values(batch, 0.95, reward), "mean")
    np.testing.assert_allclose(build("gagpo", trace=1.0, norm="mean")(batch).value, expected, atol=1e-9)


@given(seed=SEED, lengths=LENGTHS)
def test_without_repeated_states_gagpo_is_exactly_0(random_columns, seed, lengths):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**{**columns, "state": np.arange(len(columns["state"]))})
    assert not build("gagpo")(batch).value.any()


@given(seed=SEED, lengths=LENGTHS)
def test_omega_0_of_g2po_is_grpo_exactly(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    assert build("g2po", omega=0.0)(batch).value.tolist() == build("grpo")(batch).value.tolist()


def test_a_row_penalty_lowers_the_episode_and_the_node_term_of_g2po_but_not_the_edge_term(rows):
    # One step each from one state, R = 8 and 0 (A_E +-4), V = 4 gamma: gains 8 - V and 0 - V, A_edge +-4, A_node +-4.
    # The penalty of 1 on row 1: its own R and its Q for A_node, so A_E = -5 and Q = 8, -1 with mean 3.5.
    batch = rows(reward=[8.0, 0.0], invalid=[False, True])
    value = build("g2po", norm="mean", penalty="row", invalid_penalty=1.0)(batch).value
    assert value.tolist() == pytest.approx([4.0 + 4.5 + 4.0, -5.0 - 4.5 - 4.0], abs=1e-12)


@pytest.mark.parametrize("name", ["gagpo", "g2po"])
def test_flat_group_share_counts_groups_without_spread(rows, name):
    batch = rows(group=[0, 0, 1, 1, 2], reward=[8.0, 0.0, 2.0, 2.0, 1.0])
    assert build(name)(batch).diagnostics == {"flat_group_share": pytest.approx(2 / 3)}
