"""GraphHCA: compared with iterated backups, worked examples and limiting cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch, build
from tests.estimators.slow import next_row, outcome, visits, within_visits

LENGTHS = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=2)
SEED = st.integers(0, 2**32 - 1)


def slow(batch, gamma, clamp, success_reward, norm):
    """Backups over the actions of each state until nothing moves, then logs of their differences."""
    after = [next_row(batch, i) for i in range(len(batch))]
    visited = [visits(batch, i) for i in range(len(batch))]
    ends = [float(outcome(batch, i) >= success_reward) for i in range(len(batch))]
    chance = np.zeros(len(batch))  # Phi of the state of each row
    for _ in range(2000):
        ahead = np.array([ends[i] if j is None else chance[j] for i, j in enumerate(after)])
        before, chance = chance, np.empty(len(batch))
        for i, rows in enumerate(visited):
            total = 0.0
            for action in set(batch.action[rows].tolist()):
                taken = [j for j in rows if batch.action[j] == action]
                total += len(taken) / len(rows) * np.mean(ahead[taken])
            chance[i] = gamma * total
        if np.array_equal(before, chance):
            break
    rise = np.log(np.maximum(ahead, clamp)) - np.log(np.maximum(chance, clamp))
    return within_visits(batch, rise, norm)


@given(
    seed=SEED,
    lengths=LENGTHS,
    gamma=st.sampled_from([0.5, 0.9]),
    clamp=st.sampled_from([0.01, 0.3]),
    success_reward=st.sampled_from([2.0, 100.0]),
    norm=st.sampled_from(["mean", "mean_std"]),
    omega=st.sampled_from([0.5, 1.0]),
)
def test_graphhca_equals_iterated_backups(random_columns, seed, lengths, gamma, clamp, success_reward, norm, omega):
    batch = StepBatch(**random_columns(seed, lengths, num_states=3))
    options = {"gamma": gamma, "clamp": clamp, "success_reward": success_reward, "norm": norm}
    fast = build("graphhca", omega=omega, **options)(batch).value
    whole = build("grpo", norm=norm)(batch).value + omega * slow(batch, gamma, clamp, success_reward, norm)
    np.testing.assert_allclose(fast, whole, rtol=1e-6, atol=1e-6)


def test_a_step_into_a_state_of_twice_the_chance_is_worth_the_log_of_two_more(rows):
    # gamma 1/2. State 1: one visit, success: Phi 1/2. State 2: one of two visits succeeds: Phi 1/4. From state 0 the
    # steps lead to 1, 2, 2: l = log 1/2, log 1/4, log 1/4, less their mean: log 2 times 2/3, -1/3, -1/3.
    batch = rows(
        trajectory=[0, 0, 1, 1, 2, 2],
        time=[0, 1, 0, 1, 0, 1],
        reward=[0.0, 8.0, 0.0, 8.0, 0.0, 0.0],
        state=[0, 1, 0, 2, 0, 2],
        action=[1, 5, 2, 5, 2, 6],
    )
    result = build("graphhca", gamma=0.5, clamp=0.125, success_reward=8.0, norm="mean")(batch)
    step = result.value - build("grpo", norm="mean")(batch).value
    # From state 2: success against failure at the clamp, log 1 and log 1/8.
    rise = math.log(2)
    assert step.tolist() == pytest.approx([2 * rise / 3, 0.0, -rise / 3, 1.5 * rise, -rise / 3, -1.5 * rise], abs=1e-12)
    assert result.diagnostics == {"flat_group_share": 0.0, "clamped_share": 1 / 6, "contrast_share": 5 / 6}


def test_far_from_success_every_step_is_at_the_clamp_and_teaches_nothing(rows):
    # Phi of the states: 1/2^3 and less, below a clamp of 1/4 but for the last one. From state 0 both steps are at it.
    batch = rows(
        trajectory=[0, 0, 0, 0, 1], time=[0, 1, 2, 3, 0], reward=[0.0, 0.0, 0.0, 8.0, 0.0], state=[0, 1, 2, 3, 0]
    )
    result = build("graphhca", gamma=0.5, clamp=0.25, success_reward=8.0)(batch)
    assert result.value.tolist() == build("grpo")(batch).value.tolist()
    assert result.diagnostics["contrast_share"] == 0.0


@given(seed=SEED, lengths=LENGTHS)
def test_without_a_success_or_a_weight_graphhca_is_grpo_exactly(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    plain = build("grpo")(batch).value.tolist()
    assert build("graphhca", success_reward=100.0)(batch).value.tolist() == plain
    assert build("graphhca", success_reward=2.0, omega=0.0)(batch).value.tolist() == plain


def test_the_defaults_are_the_papers():
    estimator = build("graphhca")
    assert (estimator.gamma, estimator.omega, estimator.clamp, estimator.norm) == (0.95, 1.0, 0.01, "mean_std")
