"""CRBC: compared with iterated Bellman backups, worked examples and limiting cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import UNPARSED, StepBatch, build
from tests.estimators.slow import next_row, outcome, takes, visits

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def slow(batch, gamma, floor, success_reward):
    """Backups until nothing moves, then Q - V over the std of Q over the visits."""
    after = [next_row(batch, i) for i in range(len(batch))]
    visited = [visits(batch, i) for i in range(len(batch))]
    end = [outcome(batch, i) / success_reward for i in range(len(batch))]
    value = np.zeros(len(batch))  # of the state of each row
    ahead = value
    for _ in range(2000):
        ahead = gamma * np.array([end[i] if j is None else value[j] for i, j in enumerate(after)])
        before, value = value, np.array([np.mean(ahead[visited[i]]) for i in range(len(batch))])
        if np.array_equal(before, value):
            break
    action_value = np.array([np.mean(ahead[takes(batch, i)]) for i in range(len(batch))])
    result = np.zeros(len(batch))
    for i in range(len(batch)):
        same = visited[i]
        sigma = np.sqrt(np.mean((action_value[same] - value[i]) ** 2))
        if len(takes(batch, i)) < len(same) and np.ptp(action_value[same]) >= 1e-6:
            result[i] = (action_value[i] - value[i]) / max(sigma, floor)
    return result


@given(
    seed=SEED,
    lengths=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=2),
    gamma=st.sampled_from([0.5, 0.9]),
    floor=st.sampled_from([0.1, 1e-6]),
    omega=st.sampled_from([1.0, 5.0]),
    unparsed=st.booleans(),
)
def test_crbc_equals_iterated_backups(random_columns, seed, lengths, gamma, floor, omega, unparsed):
    columns = random_columns(seed, lengths, num_states=3)
    if unparsed:
        columns["action"] = np.where(columns["action"] == 2, UNPARSED, columns["action"])
    batch = StepBatch(**columns)
    fast = build("crbc", gamma=gamma, floor=floor, omega=omega, success_reward=3.0)(batch).value
    whole = build("grpo")(batch).value + omega * slow(batch, gamma, floor, 3.0)
    np.testing.assert_allclose(fast, whole, rtol=1e-9, atol=1e-9)


def test_a_failure_in_another_rollout_lowers_the_step_that_leads_there(rows):
    # State 0 splits by action: a to state 1, b straight to failure. From state 1 one rollout succeeds, one fails.
    # gamma 1/2: V(1) = 1/2 * (1 + 0) / 2 = 1/4; Q(0, a) = 1/8, Q(0, b) = 0; V(0) over visits a a b = 1/12.
    # Deviations 1/24 1/24 -1/12: sigma = sqrt((1 + 1 + 4) / 3) / 24 = sqrt(2) / 24, above the floor of 1/32.
    batch = rows(
        trajectory=[0, 0, 1, 1, 2],
        time=[0, 1, 0, 1, 0],
        reward=[0.0, 10.0, 0.0, 0.0, 0.0],
        state=[0, 1, 0, 1, 0],
        action=[1, 3, 1, 3, 2],
    )
    estimator = build("crbc", gamma=0.5, floor=1 / 32, omega=1.0)
    step = estimator(batch).value - build("grpo")(batch).value
    assert step.tolist() == pytest.approx([1 / np.sqrt(2), 0.0, 1 / np.sqrt(2), 0.0, -np.sqrt(2)], abs=1e-12)
    assert estimator(batch).diagnostics == {"flat_group_share": 0.0, "contrast_share": 0.6}
    low = build("crbc", gamma=0.5, floor=0.25, omega=1.0)(batch).value - build("grpo")(batch).value
    assert low.tolist() == pytest.approx([1 / 6, 0.0, 1 / 6, 0.0, -1 / 3], abs=1e-12)


def test_a_loop_has_the_value_of_leaving_it(rows):
    # One rollout stays in state 0 and then succeeds: V = 1/2 (V + 1) / 2, so V = 1/3; Q(stay) = 1/6, Q(go) = 1/2.
    batch = rows(trajectory=[0, 0], time=[0, 1], reward=[0.0, 10.0], action=[1, 2])
    step = build("crbc", gamma=0.5, omega=1.0, floor=1.0)(batch).value
    assert step.tolist() == pytest.approx([-1 / 6, 1 / 6], abs=1e-12)


@given(seed=SEED, lengths=LENGTHS)
def test_step_credit_sums_to_0_over_the_visits_of_a_state(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    step = build("crbc", success_reward=3.0)(batch).value - build("grpo")(batch).value
    for i in range(len(batch)):
        assert abs(step[visits(batch, i)].sum()) < 1e-8


@given(seed=SEED, lengths=LENGTHS)
def test_one_action_everywhere_is_grpo_exactly(random_columns, seed, lengths):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**{**columns, "action": np.zeros(len(columns["action"]), int)})
    assert build("crbc", success_reward=3.0)(batch).value.tolist() == build("grpo")(batch).value.tolist()


def test_the_defaults_are_the_papers():
    estimator = build("crbc")
    assert (estimator.gamma, estimator.omega, estimator.floor, estimator.success_reward, estimator.norm) == (
        0.98,
        5.0,
        0.1,
        10.0,
        "mean_std",
    )
