"""BEACON: compared with loops, worked examples and limiting cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import Needs, StepBatch, build, needs
from tests.estimators.slow import standard

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def slow(batch, gamma, milestone_reward, norm, penalty):
    """Rollout by rollout: cut at each milestone, pay backwards from it, then compare steps of one number."""
    credit, number = np.zeros(len(batch)), np.zeros(len(batch), int)
    for who in set(batch.trajectory.tolist()):
        rows = np.flatnonzero(batch.trajectory == who)
        rows = rows[np.argsort(batch.time[rows])]
        reached, segment = 0, []
        for i in rows:
            number[i] = reached
            segment.append(i)
            if batch.milestone[i] > reached:
                for distance, j in enumerate(reversed(segment)):
                    credit[j] = milestone_reward * gamma**distance
                reached, segment = batch.milestone[i], []
    credit -= 0.1 * batch.invalid * (penalty == "row")
    step = np.zeros(len(batch))
    for i in range(len(batch)):
        inside = batch.group == batch.group[i]
        if len(set(batch.trajectory[inside].tolist())) > 1:
            step[i] = standard(credit[i], credit[inside & (number == number[i])], norm)
    return step


@given(
    seed=SEED,
    lengths=LENGTHS,
    gamma=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    norm=st.sampled_from(["mean", "mean_std"]),
    omega=st.sampled_from([0.5, 1.0]),
    penalty=st.sampled_from(["return", "row"]),
)
def test_beacon_equals_the_formula_in_loops(random_columns, seed, lengths, gamma, norm, omega, penalty):
    batch = StepBatch(**random_columns(seed, lengths))
    shared = {"norm": norm, "penalty": penalty}
    fast = build("beacon", gamma=gamma, omega=omega, milestone_reward=8.0, **shared)(batch).value
    whole = build("grpo", **shared)(batch).value + omega * slow(batch, gamma, 8.0, norm, penalty)
    np.testing.assert_allclose(fast, whole, rtol=1e-9, atol=1e-9)


def test_a_failure_is_paid_for_the_milestone_that_it_reached(rows):
    # Rollout 0 reaches milestone 1 with its second step and ends the task with its third; rollout 1 reaches nothing.
    # Steps at 0 milestones: 8/2, 8, 0, 0: mean 3. Steps at 1: 8 alone. A_E by the mean: +4, -4.
    columns = {
        "trajectory": [0, 0, 0, 1, 1],
        "time": [0, 1, 2, 0, 1],
        "milestone": [0, 1, 2, 0, 0],
    }
    batch = rows(**columns, reward=[0.0, 0.0, 8.0, 0.0, 0.0])
    result = build("beacon", gamma=0.5, norm="mean", milestone_reward=8.0)(batch)
    assert result.value.tolist() == [4.0 + 1.0, 4.0 + 5.0, 4.0, -4.0 - 3.0, -4.0 - 3.0]
    assert result.diagnostics == {"flat_group_share": 0.0, "completed_share": 0.6, "milestones_mean": 1.0}
    failed = build("beacon", gamma=0.5, norm="mean", milestone_reward=8.0)(rows(**columns, reward=[0.0] * 5))
    assert failed.value.tolist() == [1.0, 5.0, 0.0, -3.0, -3.0]


@given(seed=SEED, lengths=LENGTHS)
def test_without_milestones_or_a_weight_beacon_is_grpo_exactly(random_columns, seed, lengths):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**columns)
    assert build("beacon", omega=0.0)(batch).value.tolist() == build("grpo")(batch).value.tolist()
    none = StepBatch(**{**columns, "milestone": np.zeros(len(batch), int)})
    assert build("beacon")(none).value.tolist() == build("grpo")(none).value.tolist()


def test_it_needs_milestones_and_says_so(rows):
    assert needs(build("beacon")) == Needs(columns=frozenset({"milestone"}), group_based=True)
    with pytest.raises(ValueError, match=r"beacon needs milestone, .*take a world that counts its milestones"):
        build("beacon")(rows(reward=[1.0]))


def test_the_defaults_are_the_papers():
    estimator = build("beacon")
    assert (estimator.gamma, estimator.omega, estimator.norm) == (0.95, 1.0, "mean_std")
