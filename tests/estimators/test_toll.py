"""TOLL: compared with plain loops, worked examples and limiting cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import UNPARSED, StepBatch, build
from estimators.algebra import values as solver
from tests.estimators.slow import next_row, returns, rewards, takes, visits

LENGTHS = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=2)
SEED = st.integers(0, 2**32 - 1)


def discounts(batch, reward):
    """gamma_g of each row's group."""
    future, result = returns(batch, 1.0, reward), np.zeros(len(batch))
    for group in set(batch.group.tolist()):
        rise, run = 60.0 * (0.9 - 1.0), 60.0
        for i in np.flatnonzero(batch.group == group):
            later = batch.time[i] - np.mean(batch.time[visits(batch, i)])
            usual = np.mean(future[visits(batch, i)])
            rise += later * (future[i] - usual)
            run += later**2 * max(usual, 0.0)
        result[batch.group == group] = min(max(1.0 + rise / run, 0.5), 0.97)
    return result


def values(batch, reward, gamma, kin, root):
    """V of each row's state, by repeating its equation until nothing moves."""
    after = [next_row(batch, i) for i in range(len(batch))]
    value = np.zeros(len(batch))
    for _ in range(5000):
        before, value = value, np.empty(len(batch))
        for i in range(len(batch)):
            same = visits(batch, i)
            total = sum(reward[j] + (0.0 if after[j] is None else gamma[j] * before[after[j]]) for j in same)
            weight = float(len(same))
            ways = {}  # by the state that leads here, the rows that came from it
            for j in range(len(batch)):
                if after[j] in same and j not in same:
                    ways.setdefault(int(batch.state[j]), []).append(j)
            for rows in ways.values():
                total += kin * (before[rows[0]] - np.mean(reward[rows]))
                weight += kin
            if any(batch.time[j] == 0 for j in same):
                total, weight = total + root / 2, weight + root
            value[i] = total / weight
        if np.allclose(before, value, rtol=0, atol=1e-14):
            break
    return value


def slow(batch, *, omega, outcome, row, kin, root, success_reward):
    reward = rewards(batch) / success_reward
    gamma = discounts(batch, reward)
    value = values(batch, reward, gamma, kin, root)
    after = [next_row(batch, i) for i in range(len(batch))]
    arrival = np.array(
        [reward[i] + (0.0 if after[i] is None else gamma[i] * value[after[i]]) for i in range(len(batch))]
    )
    quality = np.array([np.mean(arrival[takes(batch, i)]) for i in range(len(batch))])
    episode = np.array([reward[batch.trajectory == batch.trajectory[i]].sum() for i in range(len(batch))])
    result = np.zeros(len(batch))
    for i in range(len(batch)):
        inside = np.flatnonzero(batch.group == batch.group[i])
        firsts = [j for j in inside if batch.time[j] == 0]
        if len(firsts) == 1:
            continue
        same, actions = visits(batch, i), {tuple(takes(batch, j)) for j in visits(batch, i)}
        step = 2.0 * (quality[i] - value[i])
        if len(actions) > 1:
            free = len(inside) - len({tuple(takes(batch, j)) for j in inside})
            pooled = np.sum((arrival - quality)[inside] ** 2) / max(free, 1)
            chance = (np.sum((arrival - quality)[same] ** 2) + pooled) / (len(same) - len(actions) + 1)
            mean = np.mean(quality[same])
            between = np.sum((quality[same] - mean) ** 2)
            share = between / max(between + 4 * (len(actions) - 1) * chance, 1e-12)
            sigma = max(np.sqrt(between / len(same)), 0.05)
            step = (quality[i] - mean) * (share / np.sqrt(sigma) + 1 - share)
        expected = (np.sum(episode[firsts]) + root / 2) / (len(firsts) + root)
        result[i] = omega * (step + row * (arrival[i] - quality[i])) + outcome * (episode[i] - expected)
    return result


@given(
    seed=SEED,
    lengths=LENGTHS,
    kin=st.sampled_from([0.0, 0.5]),
    root=st.sampled_from([0.0, 1.0]),
    weights=st.sampled_from([(1.0, 0.2, 0.4), (2.0, 0.0, 1.0)]),
    unparsed=st.booleans(),
)
def test_toll_equals_plain_loops(random_columns, seed, lengths, kin, root, weights, unparsed):
    columns = random_columns(seed, lengths, num_states=3)
    if unparsed:
        columns["action"] = np.where(columns["action"] == 2, UNPARSED, columns["action"])
    batch = StepBatch(**columns)
    options = dict(zip(("omega", "outcome", "row"), weights, strict=True))
    options |= {"kin": kin, "root": root, "success_reward": 3.0}
    np.testing.assert_allclose(build("toll", **options)(batch).value, slow(batch, **options), rtol=1e-7, atol=1e-9)


def test_a_step_is_free_where_late_visits_do_as_well_as_early_ones(rows):
    # State 0 is met at turns 0 and 1 of both rollouts; one wins and one fails, whatever the turn.
    batch = rows(trajectory=[0, 0, 1, 1], time=[0, 1, 0, 1], reward=[0.0, 10.0, 0.0, 0.0], action=[1, 2, 1, 3])
    # The slope is 0; the prior says 0.1 with a weight of 60 against sum of 4 * 1/4 * 1/2.
    assert build("toll")(batch).diagnostics["step_price"] == pytest.approx(0.1 * 60 / 60.5)


def test_a_step_has_a_price_where_late_visits_do_worse(rows):
    # One rollout wins at its first visit; the other comes back to state 0 a hundred turns and then fails.
    batch = rows(
        trajectory=[0, *[1] * 100],
        time=[0, *range(100)],
        reward=[10.0, *[0.0] * 100],
        action=[1, *[2] * 100],
    )
    mean = 99 * 100 / 2 / 101
    run = sum((t - mean) ** 2 for t in [0, *range(100)]) / 101
    price = (mean * (1 - 1 / 101) + sum((t - mean) / 101 for t in range(100)) + 6.0) / (run + 60.0)
    assert build("toll")(batch).diagnostics["step_price"] == pytest.approx(price)


def test_a_state_seen_once_is_believed_to_be_near_the_state_that_led_there(rows):
    # gamma 1. Both rollouts leave state 0, to state 1 (fails) and to state 2 (wins).
    # V(1) = (0 + V(0)/2) / (3/2), V(2) = (1 + V(0)/2) / (3/2), V(0) = 1/2: so V(1) = 1/6, V(2) = 5/6.
    batch = rows(
        trajectory=[0, 0, 1, 1],
        time=[0, 1, 0, 1],
        reward=[0.0, 0.0, 0.0, 10.0],
        state=[0, 1, 0, 2],
        action=[1, 3, 2, 3],
    )
    plain = {"gamma": 1.0, "root": 0.0, "outcome": 0.0, "row": 0.0}
    credit = build("toll", **plain)(batch).value
    scale = (1 / 3) ** -0.5  # no visit shows chance at work
    assert credit.tolist() == pytest.approx([-scale / 3, -2 / 6, scale / 3, 2 / 6], abs=1e-12)
    # Without kin the states 1 and 2 are worth what came of them, and nothing is left for the last step.
    credit = build("toll", kin=0.0, **plain)(batch).value
    assert credit.tolist() == pytest.approx([-(0.5**0.5), 0.0, 0.5**0.5, 0.0], abs=1e-12)


def test_a_group_that_failed_gives_a_little_blame_and_one_that_won_a_little_praise(rows):
    failed = rows(trajectory=[0, 1], reward=[0.0, 0.0], action=[1, 2])
    won = rows(trajectory=[0, 1], reward=[10.0, 10.0], action=[1, 2])
    # (2 R + 1/2) / 3 was expected, and the step term sees no difference between the actions.
    assert build("toll")(failed).value.tolist() == pytest.approx([-0.2 / 6] * 2, abs=1e-12)
    assert build("toll")(won).value.tolist() == pytest.approx([0.2 / 6] * 2, abs=1e-12)
    assert build("toll", root=0.0)(failed).value.tolist() == [0.0, 0.0]


def test_chance_takes_the_scale_away(rows):
    # Both actions of state 0 have mean outcomes 3/4 and 1/4. Where each always leads to the same, the difference is
    # scaled up by nearly 2; where each wins and fails, hardly.
    sure = rows(trajectory=range(4), reward=[7.5, 7.5, 2.5, 2.5], action=[1, 1, 2, 2])
    chance = rows(trajectory=range(8), reward=[10, 10, 10, 0, 10, 0, 0, 0], action=[1, 1, 1, 1, 2, 2, 2, 2])
    plain = {"root": 0.0, "outcome": 0.0, "row": 0.0}
    assert build("toll", **plain)(sure).value[0] == pytest.approx(0.25 / 0.25**0.5)
    result = build("toll", **plain)(chance)
    # B = 8/16 and C = 8 * 3/16 with 6 degrees of freedom: s^2 = 1/4.
    share = 0.5 / (0.5 + 4 * 0.25)
    assert result.value[0] == pytest.approx(0.25 * (share / 0.5 + 1 - share))
    assert result.diagnostics["chance_share"] == pytest.approx(1 - share)


@given(seed=SEED, lengths=LENGTHS)
def test_without_step_terms_and_prior_toll_is_grpo_without_the_division(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    plain = build("grpo", norm="mean")(batch).value
    credit = build("toll", omega=0.0, root=0.0, success_reward=4.0)(batch).value
    np.testing.assert_allclose(credit, 0.2 * plain / 4.0, atol=1e-12)


@given(seed=SEED, lengths=LENGTHS)
def test_a_fixed_discount_without_priors_gives_the_step_term_of_crbc_up_to_a_factor_of_each_state(
    random_columns, seed, lengths
):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**{**columns, "invalid": np.zeros(len(columns["time"]), bool)})
    # CRBC pays the whole return at the end, so rewards stand there.
    last = np.array([next_row(batch, i) is None for i in range(len(batch))])
    batch = StepBatch(**{**columns, "invalid": batch.invalid, "reward": np.where(last, batch.reward, 0.0)})
    crbc = build("crbc", gamma=0.9, omega=1.0, success_reward=3.0)(batch).value - build("grpo")(batch).value
    plain = {"gamma": 0.9, "kin": 0.0, "root": 0.0, "outcome": 0.0, "row": 0.0, "success_reward": 3.0 * 0.9}
    toll = build("toll", **plain)(batch).value
    for i in range(len(batch)):
        same, alone = visits(batch, i), len(set(batch.trajectory[batch.group == batch.group[i]])) == 1
        if len(takes(batch, i)) < len(same) and not alone and np.ptp(crbc[same]) > 1e-4:
            np.testing.assert_allclose(
                toll[same] / np.abs(toll[same]).max(), crbc[same] / np.abs(crbc[same]).max(), atol=1e-4
            )


@given(seed=SEED, lengths=LENGTHS, factor=st.sampled_from([0.5, 2.0, 64.0]))
def test_rewards_count_in_units_of_success(random_columns, seed, lengths, factor):
    columns = random_columns(seed, lengths)
    plain = build("toll", success_reward=3.0)(StepBatch(**columns)).value
    larger = build("toll", success_reward=3.0 * factor, invalid_penalty=0.1 * factor)
    np.testing.assert_allclose(
        larger(StepBatch(**{**columns, "reward": columns["reward"] * factor})).value, plain, atol=1e-10
    )


@given(seed=SEED, lengths=LENGTHS, level=st.sampled_from([9.025, 0.1, -3.3]))
def test_equal_returns_without_price_and_prior_give_nothing(random_columns, seed, lengths, level):
    columns = random_columns(seed, lengths)
    longest = {who: columns["time"][columns["trajectory"] == who].max() for who in set(columns["trajectory"])}
    last = np.array([t == longest[who] for who, t in zip(columns["trajectory"], columns["time"], strict=True)])
    columns |= {"reward": level * last, "invalid": np.zeros(len(last), bool)}
    credit = build("toll", gamma=1.0, root=0.0)(StepBatch(**columns)).value
    np.testing.assert_allclose(credit, 0.0, atol=1e-9)


@given(seed=SEED, lengths=LENGTHS)
def test_sparse_systems_of_large_groups_have_the_solution_of_full_ones(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    full = build("toll", success_reward=3.0)(batch).value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solver, "_DENSE", 0)
        np.testing.assert_allclose(build("toll", success_reward=3.0)(batch).value, full, atol=1e-10)


@given(seed=SEED, lengths=LENGTHS)
def test_without_repeated_states_and_priors_only_the_first_choice_and_the_outcome_count(random_columns, seed, lengths):
    columns = random_columns(seed, lengths)
    rows = np.arange(len(columns["time"]))
    columns["state"] = np.where(columns["time"] == 0, 0, 1 + rows)  # all begin in one state and never meet again
    batch = StepBatch(**columns)
    credit = build("toll", kin=0.0, root=0.0, success_reward=3.0)(batch).value
    outcome = build("toll", omega=0.0, root=0.0, success_reward=3.0)(batch).value
    np.testing.assert_allclose(credit[batch.time > 0], outcome[batch.time > 0], atol=1e-10)
