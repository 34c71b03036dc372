"""TEMPO: compared with loops over histories, a worked example and limiting cases."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch, build
from tests.estimators.slow import next_row, past, within_group

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def slow(batch, norm):
    """V(h') - V(h), V being the mean of GRPO over the rows of one group and one past."""
    outcome = build("grpo", norm=norm)(batch).value
    pasts = [(batch.group[i], past(batch, i)) for i in range(len(batch))]
    value = np.array([np.mean(outcome[[other == mine for other in pasts]]) for mine in pasts])
    step = np.zeros(len(batch))
    for i in range(len(batch)):
        j = next_row(batch, i)
        step[i] = (outcome[i] if j is None else value[j]) - value[i]
    return outcome, step


@given(seed=SEED, lengths=LENGTHS, norm=st.sampled_from(["mean", "mean_std"]), omega=st.sampled_from([0.5, 1.0]))
def test_tempo_equals_the_formula_in_loops(random_columns, seed, lengths, norm, omega):
    batch = StepBatch(**random_columns(seed, lengths, num_states=2))
    outcome, step = slow(batch, norm)
    fast = build("tempo", norm=norm, omega=omega)(batch)
    np.testing.assert_allclose(fast.value, outcome + omega * step, rtol=1e-9, atol=1e-9)
    assert fast.diagnostics["branch_share"] == np.mean(np.abs(step) > 1e-9)


def test_only_the_turn_at_which_rollouts_part_gets_more_than_grpo(rows):
    # R 8 8 0 0, A_E by the mean: +4 +4 -4 -4. All begin in state 0. Rollouts 0 and 1 go on to state 1, 2 and 3 to
    # state 2, and there all do alike: V(start) = 0, then +4 or -4. So the first turn gets 4 + 4, the second 4.
    batch = rows(
        trajectory=[0, 0, 1, 1, 2, 2, 3, 3],
        time=[0, 1] * 4,
        reward=[0.0, 8.0, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0],
        state=[0, 1, 0, 1, 0, 2, 0, 2],
        action=[1, 3, 1, 3, 2, 3, 2, 3],
    )
    result = build("tempo", norm="mean")(batch)
    assert result.value.tolist() == [8.0, 4.0, 8.0, 4.0, -8.0, -4.0, -8.0, -4.0]
    assert result.diagnostics == {"flat_group_share": 0.0, "branch_share": 0.5}


@given(seed=SEED, lengths=LENGTHS)
def test_a_weight_of_0_and_rollouts_that_share_no_state_are_grpo(random_columns, seed, lengths):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**columns)
    assert build("tempo", omega=0.0)(batch).value.tolist() == build("grpo")(batch).value.tolist()
    alone = StepBatch(**{**columns, "state": columns["trajectory"]})
    assert build("tempo")(alone).value.tolist() == build("grpo")(alone).value.tolist()


@given(seed=SEED, lengths=LENGTHS)
def test_without_grpo_it_is_gagpos_difference_on_histories(random_columns, seed, lengths):
    columns = random_columns(seed, lengths, num_states=2)
    last = np.array([next_row(StepBatch(**columns), i) is None for i in range(len(columns["time"]))])
    columns |= {"reward": columns["reward"] * last, "invalid": np.zeros(len(last), bool)}
    batch = StepBatch(**columns)
    outcome = build("grpo", norm="mean")(batch).value
    step = build("tempo", norm="mean")(batch).value - outcome
    difference = build("gagpo", norm="mean", gamma=1.0, trace=0.0, state="history")(batch).value
    np.testing.assert_allclose(within_group(batch, step, "mean"), difference, atol=1e-9)


def test_the_defaults_are_the_papers():
    estimator = build("tempo")
    assert (estimator.omega, estimator.state, estimator.norm) == (1.0, "history", "mean_std")
