"""HGPO: compared with loops, a worked example and limiting cases."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from estimators import StepBatch, build
from tests.estimators.slow import flat, returns, rewards, standard, within_visits

PRESET = Path(__file__).parents[2] / "configs/estimator/compat/verl_agent_hgpo.yaml"
LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def context(batch, i, k):
    """The states of the rollout's steps t - k .. t, as many as there are."""
    mine = {batch.time[j]: batch.state[j] for j in np.flatnonzero(batch.trajectory == batch.trajectory[i])}
    return (batch.group[i], *(mine[t] for t in range(max(0, batch.time[i] - k), batch.time[i] + 1)))


def slow(batch, depth, alpha, gamma, norm, skip_undefined):
    future = returns(batch, gamma, rewards(batch))
    result, defined = np.zeros(len(batch)), np.zeros(len(batch))
    for k in range(depth + 1):
        contexts = [context(batch, i, k) for i in range(len(batch))]
        for i, mine in enumerate(contexts):
            values = future[[other == mine for other in contexts]]
            result[i] += (k + 1) ** alpha * standard(future[i], values, norm, ddof=0)
            defined[i] += (k + 1) ** alpha if not flat(values) or not skip_undefined else 0.0
    return np.array([value / weight if weight else 0.0 for value, weight in zip(result, defined, strict=True)])


@given(
    seed=SEED,
    lengths=LENGTHS,
    depth=st.integers(0, 4),
    alpha=st.sampled_from([0.0, 1.0, 2.0]),
    gamma=st.sampled_from([0.5, 0.95]),
    norm=st.sampled_from(["mean", "mean_std"]),
    skip_undefined=st.booleans(),
)
# a return that is the mean of its context
@example(seed=507, lengths=[[1, 5, 5, 6, 6]], depth=1, alpha=0.0, gamma=0.95, norm="mean", skip_undefined=True)
def test_hgpo_equals_the_formula_in_loops(random_columns, seed, lengths, depth, alpha, gamma, norm, skip_undefined):
    batch = StepBatch(**random_columns(seed, lengths, num_states=2))
    fast = build("hgpo", depth=depth, alpha=alpha, gamma=gamma, norm=norm, skip_undefined=skip_undefined)(batch).value
    np.testing.assert_allclose(fast, slow(batch, depth, alpha, gamma, norm, skip_undefined), rtol=1e-9, atol=1e-9)


def test_a_worked_example_of_hgpo(rows):
    # Two rollouts in states 0 1 and 2 1, G = 8, 8 and 4, 0 at gamma 1. In state 1 alone: 8 and 0, +-4 by the mean. The
    # contexts 0 1 and 2 1 differ, so depth 1 is undefined: A = 1/3 * +-4.
    batch = rows(trajectory=[0, 0, 1, 1], time=[0, 1, 0, 1], reward=[0.0, 8.0, 4.0, 0.0], state=[0, 1, 2, 1])
    result = build("hgpo", depth=1, gamma=1.0, norm="mean")(batch)
    assert result.value.tolist() == pytest.approx([0.0, 4.0 / 3.0, 0.0, -4.0 / 3.0], abs=1e-12)
    assert result.diagnostics == {"alone_at_0": 0.5, "alone_at_1": 1.0}
    whole = build("hgpo", depth=1, gamma=1.0, norm="mean", skip_undefined=True)(batch)
    assert whole.value.tolist() == [0.0, 4.0, 0.0, -4.0]


def test_a_context_at_the_start_of_a_rollout_matches_only_contexts_of_its_length(rows):
    # The same state at time 0 and, after itself, at time 1: equal at depth 0, of different length at depth 1.
    batch = rows(trajectory=[0, 0, 1], time=[0, 1, 0], reward=[0.0, 4.0, 2.0], state=[7, 7, 7])
    sets = build("hgpo", depth=1, gamma=1.0, norm="mean")(batch)
    # Depth 0: G = 4, 4, 2. Depth 1: rows 0 and 2 (length 1) with 4 and 2, row 1 alone.
    expected = [2 / 3 / 3 + 2 / 3, 2 / 3 / 3, -4 / 3 / 3 - 2 / 3]
    assert sets.value.tolist() == pytest.approx(expected, abs=1e-12)


def test_state_code_0_differs_from_the_absence_of_an_earlier_step(rows):
    # Contexts of depth 1: (nothing, 0), (0, 0), (nothing, 0): row 1 stands apart.
    batch = rows(trajectory=[0, 0, 1], time=[0, 1, 0], reward=[0.0, 4.0, 2.0], state=[0, 0, 0])
    assert build("hgpo", depth=1)(batch).diagnostics["alone_at_1"] == 1 / 3


@given(seed=SEED, lengths=LENGTHS, norm=st.sampled_from(["mean", "mean_std"]))
def test_depth_0_compares_steps_from_equal_states(random_columns, seed, lengths, norm):
    batch = StepBatch(**random_columns(seed, lengths))
    flat = within_visits(batch, returns(batch, 0.95, rewards(batch)), norm, ddof=0)
    np.testing.assert_allclose(build("hgpo", depth=0, norm=norm)(batch).value, flat, rtol=1e-9, atol=1e-9)


@given(seed=SEED, lengths=LENGTHS)
def test_depth_0_with_the_mean_is_gigpos_step_term(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    once, twice = (build("gigpo", norm="mean", omega=omega)(batch).value for omega in (1.0, 2.0))
    np.testing.assert_allclose(build("hgpo", depth=0, norm="mean")(batch).value, twice - once, atol=1e-9)


def test_the_defaults_are_the_papers():
    estimator = build("hgpo")
    assert (estimator.depth, estimator.alpha, estimator.gamma, estimator.norm) == (2, 1.0, 0.95, "mean_std")


def public(batch, depth, alpha, gamma, norm, penalty, base_group):
    """The authors' public code: step by step, over the levels that end at the step and do not reach back too far.

    Its trainer takes the penalty from returns and scores before it asks for advantages.
    """
    future = returns(batch, gamma, batch.reward) - penalty * batch.invalid
    items = [[] for _ in range(len(batch))]  # (weight, advantage)
    if base_group:
        score = np.array([batch.reward[batch.trajectory == who].sum() for who in batch.trajectory])
        score -= penalty * batch.invalid
        for i in range(len(batch)):
            values = score[batch.group == batch.group[i]]
            items[i].append((1.0, score[i] if len(values) == 1 else standard(score[i], values, norm)))
    for k in range(1, depth + 2):
        whole = [context(batch, i, k - 1) if batch.time[i] + 1 >= k else None for i in range(len(batch))]
        for i, mine in enumerate(whole):
            if mine is not None:
                values = future[[other == mine for other in whole]]
                items[i].append(((k + 1) ** alpha, standard(future[i], values, norm, ddof=0)))
    told = [[(w, a) for w, a in levels if a != 0.0] for levels in items]
    return np.array([sum(w * a for w, a in row) / (sum(w for w, _ in row) + 1e-6) for row in told])


# Powers of two, so that a mean is exact in any order: a return that is its set's mean must be 0 in both.
@given(
    seed=SEED,
    lengths=LENGTHS,
    depth=st.integers(0, 4),
    alpha=st.sampled_from([0.0, 1.0]),
    gamma=st.sampled_from([0.5, 1.0]),
    norm=st.sampled_from(["mean", "mean_std"]),
    base_group=st.booleans(),
)
def test_the_public_form_equals_the_public_code_row_by_row(
    random_columns, seed, lengths, depth, alpha, gamma, norm, base_group
):
    batch = StepBatch(**random_columns(seed, lengths, num_states=2))
    options = {"depth": depth, "alpha": alpha, "gamma": gamma, "norm": norm, "base_group": base_group}
    fast = build("hgpo", form="public", penalty="row", invalid_penalty=0.125, **options)(batch).value
    np.testing.assert_allclose(fast, public(batch, **options, penalty=0.125), rtol=1e-9, atol=1e-9)


def test_the_preset_of_the_public_code_takes_an_invalid_response_from_its_own_row(rows):
    # Four failures, one of them invalid: returns of -0.1, 0, 0, 0.
    batch = rows(trajectory=[0, 1, 2, 3], time=[0] * 4, reward=[0.0] * 4, state=[0] * 4, invalid=[True, *[False] * 3])
    result = build(**yaml.safe_load(PRESET.read_text()))(batch)
    assert result.value.tolist() == pytest.approx([-(3**0.5), *[3**-0.5] * 3], rel=1e-4)


def test_a_worked_example_of_the_public_form(rows):
    # In state 1 alone: 8 and 0, +-4 by the mean. Deeper contexts are shared by none, so their weights of 3 and 4 fall
    # away, and so does the level that reaches back before the start. State 0 is seen once: 0.
    batch = rows(trajectory=[0, 0, 1, 1], time=[0, 1, 0, 1], reward=[0.0, 8.0, 4.0, 0.0], state=[0, 1, 2, 1])
    result = build("hgpo", form="public", gamma=1.0, norm="mean")(batch)
    assert result.value.tolist() == pytest.approx([0.0, 4.0, 0.0, -4.0], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "public", "skip_undefined": True}, r"skip_undefined=True has no effect with form='public'"),
        ({"base_group": True}, r"base_group=True has no effect with form='paper'"),
    ],
)
def test_an_option_that_the_form_does_not_read_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build("hgpo", **options)
