"""BiPACE: compared with loops, the paper's figure, identities and limiting cases."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import UNPARSED, Needs, StepBatch, build, calibrated, needs
from tests.estimators.slow import flat, returns, rewards, takes, visits

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)
CONTRASTS = ["q", "action_tag", "first_token"]
ONE_STATE = {"embedding": np.ones((3, 2), np.float32)}


def slow_step_term(batch, options):
    """A_S with one-hot states and eps 0, straight from the paper's table of cases."""
    future, result = returns(batch, 0.95, rewards(batch)), np.zeros(len(batch))
    for i in range(len(batch)):
        inside, same = visits(batch, i), takes(batch, i)
        other = [j for j in inside if j not in same]
        values = future[inside]
        if flat(values):
            continue
        if options["variant"] == "state_only":
            result[i] = future[i] - values.mean()
        elif not other:
            rest = [j for j in inside if j != i]
            result[i] = future[i] - future[rest].mean() if options["no_contrast"] == "leave_one_out" else 0.0
        elif options["variant"] == "q":
            m, kappa, v = len(same), options["kappa"], values.mean()
            result[i] = (m * future[same].mean() + kappa * v) / (m + kappa) - v
        else:
            result[i] = future[i] - future[other].mean()
        if options["norm"] == "mean_std":
            result[i] /= values.std(ddof=1) + 1e-6
    return result


@given(
    seed=SEED,
    lengths=LENGTHS,
    variant=st.sampled_from([*CONTRASTS, "state_only"]),
    norm=st.sampled_from(["mean", "mean_std"]),
    no_contrast=st.sampled_from(["leave_one_out", "zero"]),
    kappa=st.sampled_from([0.0, 2.0]),
    unparsed=st.booleans(),
)
def test_bipace_equals_the_table_of_cases_in_loops(random_columns, seed, lengths, unparsed, **options):
    options["kappa"] *= options["variant"] == "q"
    columns = random_columns(seed, lengths)
    if unparsed:
        columns["action"] = np.where(columns["action"] == 2, UNPARSED, columns["action"])
    batch = StepBatch(**columns)
    fast = build("bipace", eps=0.0, omega=0.5, **options)(batch).value
    slow = build("grpo", norm=options["norm"])(batch).value + 0.5 * slow_step_term(batch, options)
    np.testing.assert_allclose(fast, slow, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "step"),
    [
        # The figure's cluster: actions a1, a1, a2 with G = 8, 4, 0. V = 4, Q(a1) = 6, Q(a2) = 0.
        ({"variant": "q"}, [2.0, 2.0, -4.0]),
        ({"variant": "action_tag"}, [8.0, 4.0, -6.0]),
        ({"variant": "first_token"}, [8.0, 4.0, -6.0]),
        ({"variant": "state_only"}, [4.0, 0.0, -4.0]),
        # kappa 2 moves Q(a1) to (2 * 6 + 2 * 4) / 4 = 5 and Q(a2) to (0 + 2 * 4) / 3.
        ({"kappa": 2.0}, [1.0, 1.0, 8.0 / 3.0 - 4.0]),
    ],
)
def test_the_three_steps_of_the_figure(rows, options, step):
    batch = rows(reward=[8.0, 4.0, 0.0], action=[1, 1, 2], **ONE_STATE)
    episode = [4.0, 0.0, -4.0]
    value = build("bipace", norm="mean", **options)(batch).value
    assert value.tolist() == pytest.approx([e + s for e, s in zip(episode, step, strict=True)], abs=1e-12)


def test_q_of_the_figure_is_exact(rows):
    batch = rows(reward=[8.0, 4.0, 0.0], action=[1, 1, 2], **ONE_STATE)
    assert build("bipace", norm="mean")(batch).value.tolist() == [6.0, 2.0, -8.0]
    assert build("bipace", norm="mean", omega=2.0)(batch).value.tolist() == [8.0, 4.0, -12.0]


def test_one_action_in_the_cluster_falls_back_to_leave_one_out(rows):
    # G = 8, 0, 4: the others' means are 2, 6, 4.
    batch = rows(reward=[8.0, 0.0, 4.0], **ONE_STATE)
    for variant in CONTRASTS:
        assert build("bipace", norm="mean", variant=variant)(batch).value.tolist() == [4.0 + 6.0, -4.0 - 6.0, 0.0]
        without = build("bipace", norm="mean", variant=variant, no_contrast="zero")(batch)
        assert without.value.tolist() == [4.0, -4.0, 0.0]


def test_an_unparsed_action_equals_no_other_action_not_even_an_unparsed_one(rows):
    # Keys u, u', 5: three keys, so q = G_i - V for each, as for state_only.
    batch = rows(reward=[8.0, 4.0, 0.0], action=[UNPARSED, UNPARSED, 5], **ONE_STATE)
    result = build("bipace", norm="mean")(batch)
    assert result.value.tolist() == [8.0, 0.0, -8.0]
    assert result.diagnostics["keys_per_cluster"] == 3.0
    assert result.diagnostics["parse_rate"] == 1 / 3


def test_the_key_of_an_unparsed_row_is_no_other_rows_code(rows):
    # The codes in use are numbered -1: 0, 3: 1, so row 1 must not be given its own number as its key.
    batch = rows(reward=[8.0, 4.0, 0.0], action=[3, UNPARSED, 3], **ONE_STATE)
    assert build("bipace", norm="mean")(batch).diagnostics["keys_per_cluster"] == 2.0


def test_the_parse_rate_leaves_out_invalid_responses_in_every_variant(rows):
    batch = rows(reward=[8.0, 4.0, 0.0], action=[1, 2, 3], invalid=[True, False, False], **ONE_STATE)
    rates = {build("bipace", variant=variant)(batch).diagnostics["parse_rate"] for variant in CONTRASTS}
    assert rates == {2 / 3}


def test_diagnostics_of_a_worked_example(rows):
    # Group 0: a cluster with actions 1 1 2, a cluster with one action; group 1: a singleton and a pair of one action.
    embedding = np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1, 0, 1, 1]]
    batch = rows(
        group=[0, 0, 0, 0, 0, 1, 1, 1],
        reward=[8.0, 4.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        action=[1, 1, 2, 3, 3, 1, 1, 1],
        embedding=embedding,
    )
    assert build("bipace", eps=0.25)(batch).diagnostics == {
        "flat_group_share": 0.0,
        "singleton_share": 0.25,
        "cluster_size_mean": 2.0,
        "cluster_size_p90": pytest.approx(2.7),  # sizes 1 2 2 3
        "pairs": 5.0,
        "largest_cluster_share": pytest.approx(2 / 3),
        "share_singleton": 0.125,
        "share_contrast": 0.375,
        "share_no_contrast": 0.5,
        "keys_per_cluster": 1.25,
        "parse_rate": 1.0,
        "eps": 0.25,
    }


def step_term(batch, **options):
    """A_S: the difference of two omegas leaves out the episode term."""
    once, twice = (build("bipace", eps=0.0, norm="mean", omega=w, **options)(batch).value for w in (1.0, 2.0))
    return twice - once


@given(seed=SEED, lengths=LENGTHS)
def test_q_sums_to_0_over_a_cluster_with_two_actions(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    value = step_term(batch)
    for i in range(len(batch)):
        inside = visits(batch, i)
        if len(set(batch.action[inside])) > 1:
            assert abs(value[inside].sum()) < 1e-9


@given(seed=SEED, lengths=LENGTHS)
def test_q_is_the_contrast_of_the_means_times_the_share_of_the_others(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    future, value = returns(batch, 0.95, rewards(batch)), step_term(batch)
    for i in range(len(batch)):
        inside, same = visits(batch, i), takes(batch, i)
        other = [j for j in inside if j not in same]
        if other:
            share = len(other) / len(inside)
            assert value[i] == pytest.approx(share * (future[same].mean() - future[other].mean()), abs=1e-9)


@given(seed=SEED, lengths=LENGTHS)
def test_an_action_taken_once_gets_n_minus_1_over_n_of_leave_one_out(random_columns, seed, lengths):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**{**columns, "action": np.arange(len(columns["action"]))})  # m = 1 everywhere
    future, value = returns(batch, 0.95, rewards(batch)), step_term(batch)
    for i in range(len(batch)):
        rest = [j for j in visits(batch, i) if j != i]
        if rest:
            share = len(rest) / (len(rest) + 1)
            assert value[i] == pytest.approx(share * (future[i] - future[rest].mean()), abs=1e-9)


@given(seed=SEED, lengths=LENGTHS, norm=st.sampled_from(["mean", "mean_std"]))
def test_state_only_with_one_hot_states_and_eps_0_is_gigpo_exactly(random_columns, seed, lengths, norm):
    batch = StepBatch(**random_columns(seed, lengths))
    bipace = build("bipace", variant="state_only", eps=0.0, norm=norm)(batch)
    gigpo = build("gigpo", norm=norm)(batch)
    assert bipace.value.tolist() == gigpo.value.tolist()
    assert bipace.diagnostics.items() >= gigpo.diagnostics.items()


@given(seed=SEED, lengths=LENGTHS, variant=st.sampled_from([*CONTRASTS, "state_only"]))
def test_omega_0_is_grpo_exactly(random_columns, seed, lengths, variant):
    batch = StepBatch(**random_columns(seed, lengths))
    assert build("bipace", omega=0.0, variant=variant)(batch).value.tolist() == build("grpo")(batch).value.tolist()


@given(seed=SEED, lengths=LENGTHS)
def test_a_large_kappa_leaves_the_episode_term_where_actions_differ(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    shrunk = build("bipace", eps=0.0, kappa=1e12, no_contrast="zero")(batch).value
    np.testing.assert_allclose(shrunk, build("grpo")(batch).value, rtol=0, atol=1e-6)


def test_bipace_needs_hidden_states_of_its_layer_and_for_first_token_the_response():
    hidden = Needs(columns=frozenset({"embedding"}), layer=-12, group_based=True)
    assert needs(build("bipace", layer=-12)) == hidden
    assert needs(build("bipace", layer=-12, variant="first_token")) == replace(hidden, action_key="first_token")


def test_a_missing_embedding_is_named_with_the_remedy(rows):
    batch = rows(reward=[1.0, 0.0])
    with pytest.raises(ValueError, match=r"bipace needs embedding.*let the learner keep hidden states"):
        build("bipace")(batch)
    with pytest.raises(ValueError, match="bipace needs embedding"):
        calibrated(build("bipace", eps="auto"), batch)


def test_auto_eps_is_measured_once_then_frozen_and_reported(rows):
    batch = rows(reward=[8.0, 4.0, 0.0], action=[1, 1, 2], **ONE_STATE)
    waiting = build("bipace", eps="auto", centroid="first")
    with pytest.raises(ValueError, match=r"eps='auto' is not measured yet: use calibrated\(batch\) once"):
        waiting(batch)
    ready = calibrated(waiting, batch)
    assert ready == build("bipace", eps=0.01, centroid="first")
    assert ready(batch).diagnostics["eps"] == 0.01
    assert calibrated(ready, rows(reward=[0.0])) is ready


@pytest.mark.parametrize(("centroid", "eps"), [("mean", 0.14), ("first", 0.28)])
def test_auto_eps_is_measured_with_the_estimators_own_centroid(rows, centroid, eps):
    # 0, 20 and 40 degrees, and three copies far off: the third is 0.134 from the mean of two, 0.234 from the first.
    angles = np.deg2rad(np.array([0.0, 20.0, 40.0, 150.0, 150.0, 150.0]))
    batch = rows(reward=np.zeros(6), embedding=np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    assert calibrated(build("bipace", eps="auto", centroid=centroid), batch).eps == eps
