"""GraphGPO: compared with loops, worked examples and limiting cases."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch, build
from tests.estimators.slow import next_row, outcome, within_visits

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def slow_distances(batch, success_reward):
    """{(group, state): steps to success}, by relaxing all edges until nothing changes."""
    distance = {}
    edges = []
    for i in range(len(batch)):
        j = next_row(batch, i)
        here = (batch.group[i], batch.state[i])
        won = outcome(batch, i) >= success_reward
        edges.append((here, (batch.group[j], batch.state[j]) if j is not None else ("won" if won else "lost")))
    distance["won"] = 0.0
    for _ in range(len(batch)):
        for here, there in edges:
            distance[here] = min(distance.get(here, np.inf), distance.get(there, np.inf) + 1.0)
    return distance, [there for _, there in edges]


def slow(batch, decay, success_reward, norm, penalty="return"):
    distance, targets = slow_distances(batch, success_reward)
    credit = np.zeros(len(batch))
    for i, there in enumerate(targets):
        finite = [d for key, d in distance.items() if key[0] == batch.group[i] and np.isfinite(d)]
        d = distance.get(there, np.inf)
        credit[i] = success_reward * decay ** ((d if np.isfinite(d) else max(finite, default=0.0) + 1.0) + 1.0)
    return within_visits(batch, credit - 0.1 * batch.invalid * (penalty == "row"), norm)


@given(
    seed=SEED,
    lengths=LENGTHS,
    decay=st.sampled_from([0.2, 0.8]),
    success_reward=st.sampled_from([2.0, 3.0, 100.0]),
    norm=st.sampled_from(["mean", "mean_std"]),
    omega=st.sampled_from([0.5, 1.0]),
    penalty=st.sampled_from(["return", "row"]),
)
def test_graphgpo_equals_the_formula_in_loops(
    random_columns, seed, lengths, decay, success_reward, norm, omega, penalty
):
    batch = StepBatch(**random_columns(seed, lengths))
    shared = {"norm": norm, "penalty": penalty}
    fast = build("graphgpo", decay=decay, success_reward=success_reward, omega=omega, **shared)(batch).value
    step = slow(batch, decay, success_reward, norm, penalty)
    whole = build("grpo", **shared)(batch).value + omega * step
    np.testing.assert_allclose(fast, whole, rtol=1e-9, atol=1e-9)


def test_a_step_towards_success_is_worth_more_than_a_step_away_from_it(rows):
    # Rollout 0: states 0 1 2, then success. Rollout 1: states 0 3, then failure. Distances 3 2 1, state 3 unreachable.
    # From state 0 the steps lead to d = 2 and to d = 3 + 1: credits 8 / 2^3 = 1 and 8 / 2^5 = 1/4 at decay 1/2.
    batch = rows(
        trajectory=[0, 0, 0, 1, 1], time=[0, 1, 2, 0, 1], reward=[0.0, 0.0, 8.0, 0.0, 0.0], state=[0, 1, 2, 0, 3]
    )
    result = build("graphgpo", decay=0.5, success_reward=8.0, norm="mean")(batch)
    assert result.value.tolist() == [4.0 + 0.375, 4.0, 4.0, -4.0 - 0.375, -4.0]
    assert result.diagnostics == {"flat_group_share": 0.0, "reachable_share": 0.75, "distance_max": 3.0}


def test_a_path_through_another_rollout_counts(rows):
    # The failed rollout 1 goes 5 -> 1, and from 1 rollout 0 succeeded: distance 2. So state 5 is not unreachable.
    batch = rows(trajectory=[0, 0, 1, 1], time=[0, 1, 0, 1], reward=[0.0, 8.0, 0.0, 0.0], state=[0, 1, 5, 1])
    assert build("graphgpo", success_reward=8.0)(batch).diagnostics["reachable_share"] == 1.0


def test_paths_do_not_cross_groups(rows):
    batch = rows(group=[0, 0, 1], trajectory=[0, 0, 1], time=[0, 1, 0], reward=[0.0, 8.0, 0.0], state=[0, 1, 1])
    assert build("graphgpo", success_reward=8.0)(batch).diagnostics["reachable_share"] == 2 / 3


@given(seed=SEED, lengths=LENGTHS)
def test_without_a_success_graphgpo_is_grpo_exactly(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    result = build("graphgpo", success_reward=100.0)(batch)
    assert result.value.tolist() == build("grpo")(batch).value.tolist()
    assert (result.diagnostics["reachable_share"], result.diagnostics["distance_max"]) == (0.0, 0.0)


@given(seed=SEED, lengths=LENGTHS)
def test_omega_0_is_grpo_exactly(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    estimator = build("graphgpo", omega=0.0, success_reward=2.0)
    assert estimator(batch).value.tolist() == build("grpo")(batch).value.tolist()


def test_the_defaults_are_the_papers_for_alfworld():
    estimator = build("graphgpo")
    assert (estimator.omega, estimator.decay, estimator.success_reward, estimator.norm) == (1.0, 0.1, 10.0, "mean_std")
