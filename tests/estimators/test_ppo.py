"""PPO: advantage estimation over turns and tokens, compared with loops, closed forms and other estimators."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import Needs, StepBatch, build, needs
from estimators.algebra.returns import episode_returns
from tests.estimators.slow import next_row, returns, rewards
from trainer.lab.worlds.maze import MazeConfig, maze
from trainer.lab.worlds.tabular import sample

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)
SHARE = st.sampled_from([0.0, 0.5, 0.95, 1.0])


def td_errors(batch, gamma):
    """r + gamma V(next turn) - V of each row."""
    reward = rewards(batch)
    after = [next_row(batch, i) for i in range(len(batch))]
    return np.array(
        [reward[i] + (0.0 if j is None else gamma * batch.values[j]) - batch.values[i] for i, j in enumerate(after)]
    )


def slow_gae(batch, gamma, lam):
    """The sum of eq. 16, term by term."""
    errors, result = td_errors(batch, gamma), np.zeros(len(batch))
    for i in range(len(batch)):
        j, factor = i, 1.0
        while j is not None:
            result[i] += factor * errors[j]
            j, factor = next_row(batch, j), factor * gamma * lam
    return result


def at_the_end(columns):
    """The columns with rewards at last turns alone, and no invalid response."""
    last = [t == columns["time"][columns["trajectory"] == who].max() for who, t in pairs(columns)]
    return {**columns, "reward": columns["reward"] * last, "invalid": np.zeros(len(last), bool)}


def pairs(columns):
    return zip(columns["trajectory"], columns["time"], strict=True)


@given(seed=SEED, lengths=LENGTHS, gamma=SHARE, lam=SHARE)
def test_ppo_equals_the_formula_in_loops(random_columns, seed, lengths, gamma, lam):
    batch = StepBatch(**random_columns(seed, lengths))
    expected = slow_gae(batch, gamma, lam)
    fast = build("ppo", gamma=gamma, lam=lam, whiten=False)(batch)
    np.testing.assert_allclose(fast.value, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fast.returns, expected + batch.values, rtol=1e-9, atol=1e-9)
    whitened = build("ppo", gamma=gamma, lam=lam)(batch)
    assert whitened.returns.tolist() == fast.returns.tolist()
    if np.ptp(expected) > 1e-3:
        spread = expected.std(ddof=1) + 1e-6
        np.testing.assert_allclose(whitened.value, (expected - expected.mean()) / spread, rtol=1e-6, atol=1e-9)
        assert whitened.diagnostics["batch_std"] == pytest.approx(spread)


@pytest.mark.parametrize("options", [{"name": "ppo"}, {"name": "ppo", "gae": "token"}, {"name": "hiper"}])
def test_a_critic_that_knows_nothing_explains_nothing(rows, options):
    # Values that differ by rollout and not with what it comes to. At lam = 0 the targets hold these values.
    values = np.repeat([6.0, 6.0, 2.0, 2.0], 3)
    columns = {"trajectory": np.repeat(range(4), 3), "time": [0, 1, 2] * 4, "reward": [0.0, 0.0, 8.0, *[0.0] * 3] * 2}
    more = {"switch": [False] * 12, "values": values, "response_tokens": [1] * 12, "token_values": values}
    credit = build(**options, gamma=1.0, lam=0.0)(rows(**columns, **more))
    assert credit.diagnostics["explained_variance"] == pytest.approx(1 - (16 + 4) / 16)


@given(seed=SEED, lengths=LENGTHS, gamma=SHARE)
def test_lam_1_is_the_discounted_return_less_the_value(random_columns, seed, lengths, gamma):
    batch = StepBatch(**random_columns(seed, lengths))
    credit = build("ppo", gamma=gamma, lam=1.0, whiten=False)(batch)
    to_go = returns(batch, gamma, rewards(batch))
    np.testing.assert_allclose(credit.value, to_go - batch.values, atol=1e-9)
    np.testing.assert_allclose(credit.returns, to_go, atol=1e-9)


@given(seed=SEED, lengths=LENGTHS, gamma=SHARE)
def test_lam_0_is_the_error_of_one_turn(random_columns, seed, lengths, gamma):
    batch = StepBatch(**random_columns(seed, lengths))
    credit = build("ppo", gamma=gamma, lam=0.0, whiten=False)(batch)
    np.testing.assert_allclose(credit.value, td_errors(batch, gamma), atol=1e-9)


@given(seed=SEED, lengths=LENGTHS)
def test_a_critic_that_says_the_groups_mean_return_is_grpo_with_norm_mean(random_columns, seed, lengths):
    batch = StepBatch(**at_the_end(random_columns(seed, [[*group, 1] for group in lengths])))
    of_rollouts = episode_returns(batch, "return", 0.1).rollout
    mean = batch.siblings.mean(of_rollouts)[batch.groups.label]
    known = StepBatch(**{**at_the_end(random_columns(seed, [[*group, 1] for group in lengths])), "values": mean})
    credit = build("ppo", lam=1.0, whiten=False)(known)
    np.testing.assert_allclose(credit.value, build("grpo", norm="mean")(batch).value, atol=1e-9)


@given(seed=SEED, lengths=LENGTHS, constant=st.sampled_from([0.0, 1.0, -7.5]))
def test_a_critic_that_knows_no_state_is_reinforce_pp_by_rows(random_columns, seed, lengths, constant):
    columns = at_the_end(random_columns(seed, lengths))
    batch = StepBatch(**{**columns, "values": np.full(len(columns["time"]), constant)})
    expected = build("reinforce_pp", episode_stats="row")(batch).value
    np.testing.assert_allclose(build("ppo", lam=1.0)(batch).value, expected, atol=1e-9)


def test_a_worked_example_of_ppo(rows):
    # V = 4, 8 and a reward of 8 at the end. delta = 8 - 4 = 4, 8 - 8 = 0; A = 4 + 0 / 2, 0.
    batch = rows(trajectory=[0, 0], time=[0, 1], reward=[0.0, 8.0], values=[4.0, 8.0])
    credit = build("ppo", lam=0.5, whiten=False)(batch)
    assert credit.value.tolist() == [4.0, 0.0]
    assert credit.returns.tolist() == [8.0, 8.0]
    # At gamma 1/2: delta = 4 - 4 = 0, 0.
    assert build("ppo", gamma=0.5, whiten=False)(batch).value.tolist() == [0.0, 0.0]


def test_the_value_of_a_rollout_does_not_reach_another(rows):
    batch = rows(trajectory=[0, 1], reward=[0.0, 8.0], values=[1.0, 4.0])
    assert build("ppo", whiten=False)(batch).value.tolist() == [-1.0, 4.0]


def test_an_invalid_response_costs_its_penalty_as_a_reward(rows):
    batch = rows(trajectory=[0, 0], time=[0, 1], reward=[0.0, 8.0], invalid=[False, True], values=[0.0, 0.0])
    assert build("ppo", lam=1.0, whiten=False, invalid_penalty=0.5)(batch).value.tolist() == [7.5, 7.5]


@given(seed=SEED, lengths=LENGTHS, level=st.sampled_from([9.025, 0.1, -3.3]))
def test_a_critic_that_was_right_everywhere_leaves_exactly_0(random_columns, seed, lengths, level):
    columns = at_the_end(random_columns(seed, lengths))
    last = np.array([t == columns["time"][columns["trajectory"] == who].max() for who, t in pairs(columns)])
    columns |= {"reward": level * last, "values": np.full(len(last), level)}
    assert not build("ppo")(StepBatch(**columns)).value.any()


def test_ppo_needs_a_critic_and_no_group():
    assert needs(build("ppo")) == Needs(columns=frozenset({"values"}))
    assert needs(build("ppo")).critic == "turn"
    assert not needs(build("grpo")).critic


def test_a_batch_without_values_is_refused(rows):
    with pytest.raises(ValueError, match=r"^ppo needs values, .*let the learner train a critic"):
        build("ppo")(rows(reward=[1.0]))


def with_tokens(columns, seed):
    """The columns with responses of 1 to 4 tokens, and a value before each."""
    rng = np.random.default_rng(seed)
    lens = rng.integers(1, 5, len(columns["time"]))
    return {**columns, "response_tokens": lens, "token_values": rng.integers(0, 9, lens.sum()) / 4.0}


def slow_token_gae(batch, gamma, lam):
    """The recursion over the tokens of each rollout, from its last one back; also the sum of each turn's tokens."""
    reward, begins = rewards(batch), np.cumsum(batch.response_tokens) - batch.response_tokens
    result = np.zeros(len(batch.token_values))
    for who in set(batch.trajectory.tolist()):
        later, value_after = 0.0, 0.0
        for row in sorted(np.flatnonzero(batch.trajectory == who), key=lambda row: -batch.time[row]):
            for token in reversed(range(batch.response_tokens[row])):
                at, is_last = begins[row] + token, token == batch.response_tokens[row] - 1
                discount = gamma if is_last else 1.0
                delta = reward[row] * is_last + discount * value_after - batch.token_values[at]
                later = delta + discount * lam * later
                result[at], value_after = later, batch.token_values[at]
    return result


@given(seed=SEED, lengths=LENGTHS, gamma=SHARE, lam=SHARE)
def test_gae_over_tokens_equals_the_recursion_in_loops(random_columns, seed, lengths, gamma, lam):
    batch = StepBatch(**with_tokens(random_columns(seed, lengths), seed))
    expected = slow_token_gae(batch, gamma, lam)
    fast = build("ppo", gae="token", gamma=gamma, lam=lam, whiten=False)(batch)
    np.testing.assert_allclose(fast.token_value, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fast.returns, expected + batch.token_values, rtol=1e-9, atol=1e-9)
    parts = np.split(expected, np.cumsum(batch.response_tokens)[:-1])
    np.testing.assert_allclose(fast.value, [part.mean() for part in parts], rtol=1e-9, atol=1e-9)
    whitened = build("ppo", gae="token", gamma=gamma, lam=lam)(batch)
    if np.ptp(expected) > 1e-3:
        spread = expected.std(ddof=1) + 1e-6
        np.testing.assert_allclose(whitened.token_value, (expected - expected.mean()) / spread, rtol=1e-6, atol=1e-9)


@given(seed=SEED, lengths=LENGTHS, gamma=SHARE, lam=SHARE)
def test_responses_of_one_token_have_the_credit_of_their_turns(random_columns, seed, lengths, gamma, lam):
    columns = random_columns(seed, lengths)
    batch = StepBatch(
        **columns, response_tokens=np.ones(len(columns["time"]), np.int64), token_values=columns["values"]
    )
    turns, tokens = (build("ppo", gae=unit, gamma=gamma, lam=lam)(batch) for unit in ("turn", "token"))
    np.testing.assert_allclose(tokens.token_value, turns.value, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(tokens.returns, turns.returns, rtol=1e-9, atol=1e-9)


@given(seed=SEED, lengths=LENGTHS)
def test_the_order_of_rows_changes_no_bit_of_a_tokens_credit(random_columns, seed, lengths):
    columns = with_tokens(random_columns(seed, lengths), seed)
    parts = np.split(columns["token_values"], np.cumsum(columns["response_tokens"])[:-1])
    order = np.random.default_rng(seed).permutation(len(parts))
    other = {name: value if name == "token_values" else value[order] for name, value in columns.items()}
    other["token_values"] = np.concatenate([parts[row] for row in order])
    credit, shuffled = (build("ppo", gae="token")(StepBatch(**each)).token_value for each in (columns, other))
    parts = np.split(credit, np.cumsum(columns["response_tokens"])[:-1])
    assert shuffled.tolist() == np.concatenate([parts[row] for row in order]).tolist()


def test_with_the_true_values_the_token_that_chooses_has_the_advantage_of_its_action():
    """A critic of tokens that knows the world: V(s) before the first token, Q(s, a) once it has named the action.

    With lam = 0 the token that names the action then has exactly Q(s, a) - V(s); the last one has what chance did.
    """
    world = maze(MazeConfig(width=3, tasks=2, pits=1, horizon=6))
    drawn = sample(world, groups=20, size=4, rng=np.random.default_rng(0))
    batch, quality = drawn.batch, world.quality[drawn.turn, drawn.state, drawn.action]
    of_tokens = np.stack([batch.values, quality], axis=1).ravel()
    both = replace(batch, response_tokens=np.full(len(batch), 2), token_values=of_tokens)
    credit = build("ppo", gae="token", lam=0.0, whiten=False, invalid_penalty=0.0)(both).token_value.reshape(-1, 2)
    np.testing.assert_allclose(credit[:, 0], world.advantage[drawn.turn, drawn.state, drawn.action], atol=1e-9)
    turns = build("ppo", lam=0.0, whiten=False, invalid_penalty=0.0)(batch).value
    np.testing.assert_allclose(credit.sum(1), turns, atol=1e-9)
    assert np.abs(credit[:, 0]).max() > 1.0


def test_ppo_over_tokens_needs_a_critic_of_tokens(rows):
    assert needs(build("ppo", gae="token")).critic == "token"
    with pytest.raises(ValueError, match=r"^ppo needs token_values, .*let the learner train a critic of tokens"):
        build("ppo", gae="token")(rows(reward=[1.0]))
