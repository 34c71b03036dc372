"""Histories as states: equal codes exactly where all that was seen and done is equal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import ESTIMATORS, UNPARSED, StepBatch, build
from estimators.algebra.states import history, visits
from tests.estimators.slow import past

LENGTHS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)
BY_STATE = ["crbc", "ecpo", "g2po", "gagpo", "gigpo", "graphgpo", "graphhca", "pgpo", "tempo", "toll"]


def test_every_estimator_of_states_takes_histories_for_states():
    assert [name for name in sorted(ESTIMATORS) if hasattr(build(name), "state")] == BY_STATE


@given(seed=SEED, lengths=LENGTHS, states=st.integers(1, 2), actions=st.integers(1, 2), unparsed=st.booleans())
def test_codes_are_equal_exactly_where_the_pasts_are(random_columns, seed, lengths, states, actions, unparsed):
    columns = random_columns(seed, lengths, num_states=states)
    columns["action"] = columns["action"] % actions - unparsed
    batch = StepBatch(**columns)
    codes, pasts = history(batch), [past(batch, i) for i in range(len(batch))]
    for i in range(len(batch)):
        assert (codes == codes[i]).tolist() == [other == pasts[i] for other in pasts]


def test_what_follows_an_unparsed_action_is_shared_with_no_rollout(rows):
    # Two rollouts 0 -> 1, once by an action that both took, once by answers that named none.
    same = {"trajectory": [0, 0, 1, 1], "time": [0, 1, 0, 1], "state": [0, 1, 0, 1]}
    assert visits(rows(**same, action=[3, 3, 3, 3]), "history").size.tolist() == [2, 2]
    assert visits(rows(**same, action=[UNPARSED, 3, UNPARSED, 3]), "history").size.tolist() == [2, 1, 1]


def test_one_state_after_two_pasts_is_two_histories_and_one_observation(rows):
    batch = rows(trajectory=[0, 0, 1, 1], time=[0, 1, 0, 1], state=[0, 2, 1, 2])
    assert visits(batch, "observation").size.tolist() == [1, 1, 2]
    assert visits(batch, "history").size.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("name", BY_STATE)
@given(seed=SEED, lengths=LENGTHS)
def test_histories_are_observations_that_hold_the_past(random_columns, name, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths, num_states=2))
    told = StepBatch(**{**random_columns(seed, lengths, num_states=2), "state": history(batch)})
    by_history = build(name, state="history")(batch).value
    np.testing.assert_allclose(by_history, build(name, state="observation")(told).value, rtol=1e-9, atol=1e-9)


def test_gigpo_refuses_similar_histories():
    with pytest.raises(ValueError, match=r"similarity=0.9 with state='history', .*set similarity=1"):
        build("gigpo", similarity=0.9, state="history")
