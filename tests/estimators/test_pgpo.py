"""PGPO: compared with loops, a worked example and limiting cases."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch, build
from tests.estimators.slow import next_row, returns, rewards, success_rate, visits, within_visits

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def slow(batch, gamma, power, success_reward, norm):
    reward = rewards(batch)
    to_go = returns(batch, gamma, reward)
    potential = np.array([np.mean(to_go[visits(batch, i)]) for i in range(len(batch))])
    delta = np.zeros(len(batch))
    for i in range(len(batch)):
        j = next_row(batch, i)
        delta[i] = (reward[i] if j is None else potential[j]) - potential[i]
    weight = np.array([(1.0 - success_rate(batch, i, success_reward)) ** power for i in range(len(batch))])
    return within_visits(batch, to_go, norm) + weight * within_visits(batch, delta, norm)


@given(
    seed=SEED,
    lengths=LENGTHS,
    gamma=st.sampled_from([0.5, 0.95]),
    power=st.sampled_from([0.0, 1.0, 2.0]),
    success_reward=st.sampled_from([1.0, 3.0]),
    norm=st.sampled_from(["mean", "mean_std"]),
)
def test_pgpo_equals_the_formula_in_loops(random_columns, seed, lengths, gamma, power, success_reward, norm):
    batch = StepBatch(**random_columns(seed, lengths))
    fast = build("pgpo", gamma=gamma, power=power, success_reward=success_reward, norm=norm)(batch).value
    np.testing.assert_allclose(fast, slow(batch, gamma, power, success_reward, norm), rtol=1e-9, atol=1e-9)


def test_a_failure_that_reaches_a_good_state_is_paid_for_it(rows):
    # gamma 1. Rollout 0: 0 -> 1, success (8). Rollout 1: 0 -> 1, failure. Rollout 2: 0 -> 2, failure.
    # G in state 0: 8 0 0, mean 8/3; Phi(1) = 4, Phi(2) = 0. delta from 0: 4 4 0 less Phi(0), mean 8/3: +4/3 +4/3 -8/3.
    # In state 1: G 8 and 0, +-4; delta 8 - 4 and 0 - 4, +-4. p = 1/3, (1 - p)^2 = 4/9.
    batch = rows(
        trajectory=[0, 0, 1, 1, 2, 2],
        time=[0, 1, 0, 1, 0, 1],
        reward=[0.0, 8.0, 0.0, 0.0, 0.0, 0.0],
        state=[0, 1, 0, 1, 0, 2],
    )
    result = build("pgpo", gamma=1.0, norm="mean", success_reward=8.0)(batch)
    weight = 4 / 9
    expected = [
        16 / 3 + weight * 4 / 3, 4 + weight * 4, -8 / 3 + weight * 4 / 3, -4 - weight * 4, -8 / 3 - weight * 8 / 3, 0,
    ]  # fmt: skip
    np.testing.assert_allclose(result.value, expected, atol=1e-12)
    assert result.diagnostics == {"success_share": 1 / 3, "potential_weight": (1 - 1 / 3) ** 2}


def test_a_step_that_a_scorer_pays_is_not_blamed_for_what_is_left_to_earn(rows):
    # gamma 1, nobody succeeds. Rollout 0 earns 1 at once, rollout 1 a step later: G is 1 for both at the start.
    batch = rows(
        trajectory=[0, 0, 1, 1],
        time=[0, 1, 0, 1],
        reward=[1.0, 0.0, 0.0, 1.0],
        step_reward=[1.0, 0.0, 0.0, 1.0],
        state=[0, 1, 0, 2],
    )
    np.testing.assert_allclose(build("pgpo", gamma=1.0, norm="mean")(batch).value, 0.0, atol=1e-12)


@given(seed=SEED, lengths=LENGTHS)
def test_a_group_that_always_succeeds_has_gigpos_step_term(random_columns, seed, lengths):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**{**columns, "reward": columns["reward"] + 1.0})
    once, twice = (build("gigpo", omega=omega)(batch).value for omega in (1.0, 2.0))
    np.testing.assert_allclose(build("pgpo", success_reward=1.0)(batch).value, twice - once, atol=1e-9)


def test_the_defaults_are_the_papers():
    estimator = build("pgpo")
    assert (estimator.gamma, estimator.power, estimator.norm, estimator.success_reward) == (0.95, 2.0, "mean_std", 10.0)
