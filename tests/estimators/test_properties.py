"""Laws that every estimator keeps: shift, order of rows, separation of groups, exactly 0 without spread."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import ESTIMATORS, StepBatch, build, needs

LENGTHS = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=2, max_size=3)
SEED = st.integers(0, 2**32 - 1)
NAMES = sorted(ESTIMATORS)
# Rewards of the random columns are 0 to 1.5 a step, so some rollouts reach 3 and some do not.
SETTINGS = {
    "toll": {"success_reward": 3.0, "root": 0.0},
    "reinforce_pp": {"baseline": "group"},
    "ppo": {"whiten": False},
    "hiper": {"whiten": False},
    "turn_loo": {"singleton": "zero"},
} | {n: {"success_reward": 3.0} for n in ("crbc", "graphgpo", "graphhca", "ibpo", "pgpo")}
every_estimator = pytest.mark.parametrize("name", NAMES)
# ppo and hiper compare a rollout with what the critic expected, not with its siblings.
COMPARING = [name for name in NAMES if name not in {"ppo", "hiper"}]
of_siblings = pytest.mark.parametrize("name", COMPARING)
# graphgpo credits distances to success, beacon those to a milestone, and min_form the smallest reward to come: a reward
# at the end moves none of them.
UNMOVED = {"graphgpo", "beacon", "min_form"}
# toll gives credit of rounding's size: test_toll has the law with a tolerance. istar credits step rewards too.
of_returns = pytest.mark.parametrize("name", [name for name in COMPARING if name not in {"toll", "istar", *UNMOVED}])


def estimator(name, **options):
    """The estimator with those of the options that it has."""
    parameters = inspect.signature(ESTIMATORS[name]).parameters
    return build(name, **SETTINGS.get(name, {}), **{key: value for key, value in options.items() if key in parameters})


def drawn(random_columns, name, seed, lengths):
    """Random columns, with step rewards for an estimator that needs them."""
    columns = random_columns(seed, lengths)
    scored = "step_reward" in needs(estimator(name)).columns
    return columns | {"step_reward": columns["state"] / 8} if scored else columns


def last_steps(columns):
    longest = {who: columns["time"][columns["trajectory"] == who].max() for who in set(columns["trajectory"])}
    return np.array([time == longest[who] for who, time in zip(columns["trajectory"], columns["time"], strict=True)])


# What these credit changes where a shift turns a failure into a success.
@pytest.mark.parametrize("name", sorted(set(COMPARING) - {"graphhca", "pgpo", *UNMOVED}))
@given(seed=SEED, lengths=LENGTHS, shift=st.integers(-20, 20))
def test_adding_a_constant_to_all_returns_of_a_group_changes_nothing(random_columns, name, seed, lengths, shift):
    # With gamma 1 a reward at the end counts alike in all returns.
    columns = drawn(random_columns, name, seed, lengths)
    shifted = columns["reward"] + shift * (last_steps(columns) & (columns["group"] == 10))
    plain = estimator(name, gamma=1.0)(StepBatch(**columns)).value
    np.testing.assert_allclose(
        estimator(name, gamma=1.0)(StepBatch(**{**columns, "reward": shifted})).value, plain, atol=1e-8
    )


@every_estimator
@given(seed=SEED, lengths=LENGTHS)
def test_row_order_changes_nothing_to_the_last_bit(random_columns, name, seed, lengths):
    columns = drawn(random_columns, name, seed, lengths)
    order = np.random.default_rng(seed).permutation(len(columns["time"]))
    plain = estimator(name)(StepBatch(**columns))
    moved = estimator(name)(StepBatch(**{column: value[order] for column, value in columns.items()}))
    assert moved.value.tolist() == plain.value[order].tolist()
    assert moved.diagnostics == plain.diagnostics


@pytest.mark.parametrize("name", [name for name in NAMES if name != "reinforce_pp"])
@given(seed=SEED, lengths=LENGTHS)
def test_a_group_gets_the_same_credit_alone_as_among_others(random_columns, name, seed, lengths):
    columns = drawn(random_columns, name, seed, lengths)
    inside = columns["group"] == 10
    alone = estimator(name)(StepBatch(**{column: value[inside] for column, value in columns.items()}))
    assert alone.value.tolist() == estimator(name)(StepBatch(**columns)).value[inside].tolist()


@of_returns
@pytest.mark.parametrize("norm", ["mean", "mean_std"])
@given(seed=SEED, lengths=LENGTHS, level=st.sampled_from([9.025, 0.1, -3.3, 1e6 / 3]))
def test_equal_returns_give_exactly_0(random_columns, name, norm, seed, lengths, level):
    columns = drawn(random_columns, name, seed, lengths)
    columns |= {"reward": level * last_steps(columns), "invalid": np.zeros(len(columns["time"]), bool)}
    assert not estimator(name, norm=norm, gamma=1.0)(StepBatch(**columns)).value.any()


@of_siblings
@pytest.mark.parametrize("stats", ["trajectory", "row"])
@pytest.mark.parametrize("penalty", ["return", "row"])
def test_a_single_rollout_that_never_meets_a_state_twice_gets_exactly_0_in_every_mode(rows, name, stats, penalty):
    batch = rows(
        trajectory=[0, 0, 0],
        time=[0, 1, 2],
        reward=[0.0, 0.0, 9.0],
        invalid=[True, False, False],
        state=[0, 1, 2],
        embedding=np.eye(3, dtype=np.float32),
        repair=[0.0] * 3,
        edited=[False] * 3,
        milestone=[0, 0, 1],
        step_reward=[0.5, 0.0, 0.25],
    )
    assert estimator(name, episode_stats=stats, penalty=penalty)(batch).value.tolist() == [0.0, 0.0, 0.0]


@of_siblings
def test_an_estimator_that_compares_the_rollouts_of_a_group_says_so(name):
    assert needs(estimator(name)).group_based


@every_estimator
@given(seed=SEED, lengths=LENGTHS)
def test_the_batch_is_left_as_it_was(random_columns, name, seed, lengths):
    columns = drawn(random_columns, name, seed, lengths)
    batch = StepBatch(**{column: value.copy() for column, value in columns.items()})
    estimator(name)(batch)
    assert all(np.array_equal(getattr(batch, column), value) for column, value in columns.items())
