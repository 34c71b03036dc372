"""Returns to go, returns of an episode, and the two places of the invalid penalty."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import ESTIMATORS, StepBatch, build
from estimators.algebra.returns import episode_returns, group_moments, outcomes, returns_to_go, succeeded

LENGTHS = st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=4), min_size=1, max_size=3)


def slow_returns(batch, gamma, penalty, cost):
    place = {(batch.trajectory[i], batch.time[i]): i for i in range(len(batch))}
    result = np.zeros(len(batch))
    for i in range(len(batch)):
        at, factor = i, 1.0
        while at is not None:
            lost = cost * batch.invalid[at] if penalty == "return" else 0.0
            result[i] += factor * (batch.reward[at] - lost)
            at, factor = place.get((batch.trajectory[at], batch.time[at] + 1)), factor * gamma
        if penalty == "row":
            result[i] -= cost * batch.invalid[i]
    return result


@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=LENGTHS,
    gamma=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    penalty=st.sampled_from(["return", "row"]),
)
def test_returns_to_go_equal_the_definition(random_columns, seed, lengths, gamma, penalty):
    batch = StepBatch(**random_columns(seed, lengths))
    fast = returns_to_go(batch, gamma, penalty, 0.1)
    np.testing.assert_allclose(fast, slow_returns(batch, gamma, penalty, 0.1), rtol=0, atol=1e-9)


def one_rollout(rows, **columns):
    n = len(columns["reward"])
    return rows(trajectory=np.zeros(n, np.int64), time=np.arange(n), **columns)


def test_a_reward_of_8_three_steps_ahead_is_worth_1_at_gamma_a_half(rows):
    batch = one_rollout(rows, reward=[0.0, 0.0, 0.0, 8.0])
    assert returns_to_go(batch, 0.5, "return", 0.0).tolist() == [1.0, 2.0, 4.0, 8.0]
    assert episode_returns(batch, "return", 0.0).row.tolist() == [8.0] * 4


def test_penalty_in_the_return_is_discounted_back(rows):
    batch = one_rollout(rows, reward=[0.0, 0.0, 8.0], invalid=[False, True, False])
    assert returns_to_go(batch, 0.5, "return", 0.25).tolist() == [1.875, 3.75, 8.0]
    assert episode_returns(batch, "return", 0.25).row.tolist() == [7.75] * 3


def test_penalty_on_the_row_stays_on_the_row(rows):
    batch = one_rollout(rows, reward=[0.0, 0.0, 8.0], invalid=[False, True, False])
    assert returns_to_go(batch, 0.5, "row", 0.25).tolist() == [2.0, 3.75, 8.0]
    returns = episode_returns(batch, "row", 0.25)
    assert returns.row.tolist() == [8.0, 7.75, 8.0]
    assert returns.rollout.tolist() == [8.0]


def test_steps_of_two_rollouts_do_not_run_into_each_other(rows):
    batch = rows(trajectory=[4, 9, 4, 9], time=[0, 0, 1, 1], reward=[1.0, 2.0, 4.0, 8.0])
    assert returns_to_go(batch, 1.0, "return", 0.0).tolist() == [5.0, 10.0, 4.0, 8.0]


@pytest.mark.parametrize(("stats", "mean"), [("trajectory", 4.0), ("row", 6.0)])
def test_group_mean_counts_rollouts_or_rows(rows, stats, mean):
    # One rollout of three steps with R = 8, one of one step with R = 0: (8 + 0) / 2 or (8 + 8 + 8 + 0) / 4.
    batch = rows(trajectory=[0, 0, 0, 1], time=[0, 1, 2, 0], reward=[0.0, 0.0, 8.0, 0.0])
    assert group_moments(batch, episode_returns(batch, "return", 0.0), "mean", stats).mean.tolist() == [mean]


@pytest.mark.parametrize("stats", ["trajectory", "row"])
def test_a_rollout_alone_in_its_group_has_no_signal_even_if_its_rows_differ(rows, stats):
    batch = one_rollout(rows, reward=[0.0, 8.0], invalid=[True, False])
    returns = episode_returns(batch, "row", 1.0)
    assert group_moments(batch, returns, "mean", stats).signal.tolist() == [False]


def test_a_scorers_rewards_count_in_returns_and_not_in_what_counts_as_success(rows):
    # The world pays 0 1 and 0, the scorer 0.5 1.5 and -1.
    batch = rows(trajectory=[0, 0, 1], time=[0, 1, 0], reward=[0.5, 2.5, -1.0], step_reward=[0.5, 1.5, -1.0])
    assert outcomes(batch).tolist() == [1.0, 0.0]
    assert episode_returns(batch, "return", 0.0, "world").rollout.tolist() == [1.0, 0.0]
    assert succeeded(batch, 1.0).tolist() == [True, False]
    assert episode_returns(batch, "return", 0.0).rollout.tolist() == [3.0, -1.0]
    assert returns_to_go(batch, 0.5, "return", 0.0).tolist() == [0.5 + 0.5 * 2.5, 2.5, -1.0]


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_estimator_reads_a_scorers_rewards(random_columns, name):
    columns = random_columns(7, [[3, 5, 2], [4, 4]])
    added = np.arange(len(columns["reward"])) % 3 / 4.0
    estimator = build(name, **({"eps": 0.1} if name == "bipace" else {}))
    scored = estimator(StepBatch(**{**columns, "reward": columns["reward"] + added}, step_reward=added)).value
    assert scored.tolist() != estimator(StepBatch(**columns, step_reward=np.zeros_like(added))).value.tolist()


@pytest.mark.parametrize("name", sorted(name for name in ESTIMATORS if hasattr(build(name), "episode_rewards")))
def test_the_episode_term_may_leave_out_what_a_scorer_added(random_columns, name):
    columns = random_columns(7, [[3, 5, 2], [4, 4]])
    added = np.arange(len(columns["reward"])) % 3 / 4.0
    alone, scored = (
        StepBatch(**columns),
        StepBatch(**{**columns, "reward": columns["reward"] + added}, step_reward=added),
    )
    terms = [build(name, episode_rewards="world").episode(batch)[0] for batch in (alone, scored)]
    np.testing.assert_allclose(terms[1], terms[0], atol=1e-9)
