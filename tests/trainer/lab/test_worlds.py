"""The lab's worlds: exact values against enumeration of every rollout, against the world itself, against samples."""

from itertools import product

import numpy as np
import pytest

from envs.textcraft.book import OWN_RECIPES, load_book
from envs.textcraft.world import TextCraft
from trainer.lab.worlds.crafting import ENDLESS, CraftingConfig, crafting, explore
from trainer.lab.worlds.maze import MazeConfig, maze
from trainer.lab.worlds.tabular import SUCCESS_REWARD, Tabular, occupancy, sample, true_gradient

S, WON, LOST = 3, 3, 4


def coin(*, policy: np.ndarray | None = None, horizon: int = 3, **options: object) -> Tabular:
    """Three states, two actions, two outcomes of each, drawn once; all that the enumeration below needs."""
    rng = np.random.default_rng(5)
    chance = rng.dirichlet([1.0, 1.0], (S, 2))
    successor = rng.integers(0, 5, (S, 2, 2))
    successor[0, 0, 0], successor[1, 1, 0], successor[2, 0, 1] = WON, LOST, WON
    return Tabular(
        name="coin",
        successor=successor,
        chance=chance,
        policy=rng.dirichlet([2.0, 2.0], S) if policy is None else policy,
        keys=np.tile([7, 8], (S, 1)),
        starts=np.array([0, 1]),
        horizon=horizon,
        vectors=np.eye(S, 4, dtype=np.float32),
        **options,  # pyright: ignore[reportArgumentType]
    )


def expected_reward(world: Tabular, state: int, turns: int) -> float:
    """Expected reward with so many turns left, by enumeration of every sequence of actions and outcomes."""
    if turns == 0:
        return 0.0
    total = 0.0
    for action, outcome in product(range(2), range(2)):
        share = world.policy[state, action] * world.chance[state, action, outcome]
        reached = int(world.successor[state, action, outcome])
        total += share * (
            SUCCESS_REWARD if reached == WON else 0.0 if reached == LOST else expected_reward(world, reached, turns - 1)
        )
    return total


def test_values_equal_an_enumeration_of_every_rollout() -> None:
    world = coin()
    for t, state, action in product(range(3), range(S), range(2)):
        reached = world.successor[state, action].tolist()
        worth = [
            {WON: SUCCESS_REWARD, LOST: 0.0}.get(to, expected_reward(world, to, 2 - t) if to < S else 0.0)
            for to in reached
        ]
        assert world.quality[t, state, action] == pytest.approx(float(world.chance[state, action] @ worth))
        value = expected_reward(world, state, 3 - t)
        assert world.advantage[t, state, action] == pytest.approx(world.quality[t, state, action] - value)
    assert world.score == pytest.approx([expected_reward(world, start, 3) / SUCCESS_REWARD for start in (0, 1)])


def test_the_true_gradient_is_the_slope_of_the_expected_reward() -> None:
    world = coin()
    gradient, logits, step = true_gradient(world), np.log(world.policy), 1e-5
    for task, state, action in product(range(2), range(S), range(2)):
        slope = 0.0
        for sign in (1, -1):
            moved = logits.copy()
            moved[state, action] += sign * step
            policy = np.exp(moved) / np.exp(moved).sum(1, keepdims=True)
            slope += sign * expected_reward(coin(policy=policy), int(world.starts[task]), 3) / (2 * step)
        assert gradient[task, state, action] == pytest.approx(slope, abs=1e-7)


def test_samples_are_as_frequent_as_the_table_says() -> None:
    world = coin()
    drawn = sample(world, groups=2000, size=8, rng=np.random.default_rng(0))
    reached = occupancy(world)
    for task, t, state in product(range(2), range(3), range(S)):
        rows = (drawn.task == task) & (drawn.turn == t) & (drawn.state == state)
        share = rows.sum() / 8000
        assert share == pytest.approx(reached[task, t, state], abs=0.02)
        if rows.sum() > 400:
            chosen = (drawn.action[rows] == 1).mean()
            assert chosen == pytest.approx(world.policy[state, 1], abs=4 * 0.5 / np.sqrt(rows.sum()))
    ended = drawn.batch.rollouts.sum(drawn.batch.reward).reshape(-1, 8)
    assert [ended[task::2].mean() / SUCCESS_REWARD for task in (0, 1)] == pytest.approx(world.score, abs=0.02)
    assert drawn.truth.tolist() == world.advantage[drawn.turn, drawn.state, drawn.action].tolist()


def test_an_estimator_sees_texts_keys_and_noisy_vectors() -> None:
    world = coin(texts=5, noise=0.25)
    drawn = sample(world, groups=40, size=4, rng=np.random.default_rng(1))
    assert set((drawn.batch.state // 5 - drawn.state).tolist()) == {0}
    assert len(set(drawn.batch.state.tolist())) > S
    assert set((drawn.batch.action - drawn.action).tolist()) == {7}
    distance = np.linalg.norm(drawn.batch.needed("embedding", "the test") - world.vectors[drawn.state], axis=1)
    assert distance == pytest.approx(np.full(len(distance), 0.25), rel=1e-5)


def test_milestones_count_the_different_ones_that_a_rollout_reached() -> None:
    # Action 7 reaches milestone 1 in every state, action 8 milestone 2 in state 0 alone.
    world = coin(milestones=np.array([[1, 2], [1, 0], [1, 0]]))
    drawn = sample(world, groups=50, size=2, rng=np.random.default_rng(0))
    reached: dict[int, set[int]] = {}
    assert world.milestones is not None
    assert drawn.batch.milestone is not None
    for row in drawn.batch.rollouts.order.tolist():
        mine = reached.setdefault(int(drawn.batch.trajectory[row]), {0})
        mine.add(int(world.milestones[drawn.state[row], drawn.action[row]]))
        assert drawn.batch.milestone[row] == len(mine) - 1
    won = sample(coin(), groups=50, size=2, rng=np.random.default_rng(0)).batch
    assert np.array_equal(won.milestone, won.reward > 0)  # a world without any has success alone


def test_a_turn_begins_a_sub_goal_where_the_turn_before_reached_a_new_milestone() -> None:
    world = coin(milestones=np.array([[1, 2], [1, 0], [1, 0]]))
    batch = sample(world, groups=50, size=2, rng=np.random.default_rng(0)).batch
    assert batch.milestone is not None
    assert batch.switch is not None
    begins = dict.fromkeys(range(100), True)
    reached = dict.fromkeys(range(100), 0)
    for row in batch.rollouts.order.tolist():
        rollout, count = int(batch.trajectory[row]), int(batch.milestone[row])
        assert batch.switch[row] == begins[rollout]
        begins[rollout], reached[rollout] = count > reached[rollout], count
    assert 0 < batch.switch[batch.time > 0].sum() < (batch.time > 0).sum()


def test_the_same_seed_draws_the_same_rollouts() -> None:
    first, same, other = (sample(coin(), groups=4, size=4, rng=np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.state.tolist() == same.state.tolist()
    assert first.state.tolist() != other.state.tolist()


def test_a_table_whose_chances_do_not_add_up_is_refused() -> None:
    with pytest.raises(ValueError, match=r"policy of a state sums to 0\.5"):
        coin(policy=np.full((S, 2), 0.25))


def test_a_perfect_policy_on_a_dry_floor_always_wins() -> None:
    sure = maze(MazeConfig(skill=1.0, slip=0.0))
    assert sure.score == pytest.approx(np.ones(4))
    assert np.abs(sure.advantage).max() > 0.0  # the actions that it never takes are worse
    assert (maze(MazeConfig(skill=0.0)).score < maze(MazeConfig(skill=0.5)).score).all()


def test_cells_with_nearly_equal_vectors_come_in_pairs() -> None:
    separate, paired = (maze(MazeConfig(alias=alias)).vectors for alias in (0.0, 1.0))
    nearest = [np.sort(1.0 - vectors @ vectors.T, axis=1)[:, 1] for vectors in (separate, paired)]
    assert nearest[0].min() > 0.3
    assert (nearest[1] < 0.01).sum() == 24  # of 25 cells


def test_textcrafts_values_equal_the_success_of_continuations_from_a_snapshot() -> None:
    # 4,000 continuations by the world itself, from the middle of an episode: within four standard errors.
    config = CraftingConfig(tasks=1, split="train_depth2", horizon=6)
    world, book = TextCraft(max_steps=ENDLESS, distractors=0), load_book(OWN_RECIPES)
    goal = world.tasks(config.split)[0]
    table, graph = crafting(config), explore(world, book, goal, config)
    assert graph is not None
    world.reset(goal)
    step = world.step(graph.actions[0][0])
    start = world.snapshot()
    state = graph.reached[0][0]
    index = {step.state_key: state}
    rng, wins, plays = np.random.default_rng(0), 0, 4000
    for _ in range(plays):
        world.restore(start)
        current = state
        for _ in range(1, config.horizon):
            slot = int(rng.choice(len(graph.actions[current]), p=table.policy[current][: len(graph.actions[current])]))
            after = world.step(graph.actions[current][slot])
            if after.won:
                wins += 1
                break
            current = graph.reached[current][slot]
            assert index.setdefault(after.state_key, current) == current
    exact = float(table.policy[state] @ table.quality[1, state]) / SUCCESS_REWARD
    assert 0.05 < exact < 0.95
    assert wins / plays == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / plays))


def test_a_textcraft_policy_that_follows_the_planner_wins() -> None:
    assert crafting(CraftingConfig(expert=1.0, horizon=20)).score == pytest.approx(np.ones(6))
