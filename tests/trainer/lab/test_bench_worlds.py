"""Worlds of others and controlled bifurcations: published values, exact values, and what estimators make of them."""

import numpy as np
import pytest

from estimators import Advantages, Estimator, StepBatch, build
from trainer.lab.measure.jackknife import BLOCKS
from trainer.lab.measure.truth import TruthComparison, compare_with_truth
from trainer.lab.worlds.bench import WORLDS
from trainer.lab.worlds.bench.delay import delayed_effect
from trainer.lab.worlds.bench.recov import recovery
from trainer.lab.worlds.bench.stop import variable_horizon
from trainer.lab.worlds.tabular import SUCCESS_REWARD, Tabular, action_values, sample


def outcome(batch: StepBatch) -> Advantages:
    return Advantages(value=batch.rollouts.sum(batch.reward)[batch.rollouts.label])


def leakage_of(world: Tabular, estimator: Estimator) -> float:
    (comparison,) = compare_with_truth(world, {"it": estimator}, size=8, rollouts=3200, rng=np.random.default_rng(0))
    return comparison.leakage.value


def shares(world: Tabular, turn: int = 0) -> dict[int, float]:
    """True advantages of the first state that is reached at `turn`, by slot, as shares of SUCCESS_REWARD."""
    state = turn if turn < len(world.policy) else 0
    return {slot: value / SUCCESS_REWARD for slot, value in enumerate(world.advantage[turn, state].tolist())}


@pytest.mark.parametrize("chance", [1.0, 0.6])
def test_recoverys_advantages_are_the_published_ones(chance: float) -> None:
    # Uniform policy: A(BAD) = q/4 - 1/2, A(RECOVER) = q/2; with q = 1: -0.25 and +0.50.
    world = recovery(chance=chance)
    assert shares(world, 0)[1] == pytest.approx(chance / 4 - 1 / 2)
    assert shares(world, 1)[0] == pytest.approx(chance / 2)


@pytest.mark.parametrize(
    ("name", "options", "scale", "bad", "recover"),
    [
        ("grpo", {}, 1.0, 0.58, 0.58),
        ("rloo", {}, SUCCESS_REWARD, 0.25, 0.25),
        ("gigpo", {"gamma": 1.0}, 1.0, 1.15, 1.57),
    ],
)
def test_recovery_gets_the_published_credit(
    name: str, options: dict[str, float], scale: float, bad: float, recover: float
) -> None:
    # Batches of 2,000 as one group; mean credit of both turns over the rollouts that went BAD, then RECOVER.
    draws = sample(recovery(), groups=20, size=2000, rng=np.random.default_rng(0))
    credit = build(name, **options)(draws.batch).value / scale
    mended = np.isin(draws.batch.trajectory, draws.batch.trajectory[(draws.state == 1) & (draws.action == 0)])
    means = [credit[mended & (draws.turn == turn)].mean() for turn in (0, 1)]
    assert means == pytest.approx([bad, recover], abs=0.015)


@pytest.mark.parametrize("horizon", [2, 4, 32])
def test_the_broadcast_outcome_leaks_as_published(horizon: int) -> None:
    # Every row of a rollout has the same credit, and only the first can matter: 0.5 at H = 2, 0.969 at H = 32.
    assert leakage_of(delayed_effect(horizon=horizon), outcome) == pytest.approx(1 - 1 / horizon)


def test_delayed_effect_decides_at_its_first_turn_alone() -> None:
    world = delayed_effect(horizon=4)
    assert shares(world, 0) == pytest.approx({0: 0.3, 1: -0.3})
    assert np.abs(world.advantage[1:, 1:]).max() < 1e-12
    assert len(set(world.shown.tolist())) == 3  # start, good, bad


def test_variable_horizon_is_one_state_whose_truth_depends_on_the_turn() -> None:
    # Pays 0, 2, 1, 3, 0; the last turn must stop. V = 0; (3 + 0)/2 = 1.5; (1 + 1.5)/2 = 1.25; (2 + 1.25)/2 = 1.625.
    world = variable_horizon()
    assert set(world.shown.tolist()) == {0}
    best = SUCCESS_REWARD / 3
    exact = [-1.625 / 2, (2 - 1.25) / 2, (1 - 1.5) / 2, 3 / 2, 0.0]
    assert [world.advantage[turn, turn, 0] / best for turn in range(5)] == pytest.approx(exact)
    assert world.score == pytest.approx([0.8125 / 3])
    drawn = sample(world, groups=1, size=100, rng=np.random.default_rng(0)).batch
    assert (set(drawn.state.tolist()), set(drawn.action.tolist())) == ({0}, {0, 1})


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_is_the_same_twice_and_differs_between_layouts(name: str) -> None:
    first, same, other = (WORLDS[name](number) for number in (3, 3, 4))
    assert (first.name, first.advantage.tolist()) == (name, same.advantage.tolist())
    assert first.advantage.shape != other.advantage.shape or not np.allclose(first.advantage, other.advantage)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("number", range(6))
def test_every_layout_can_be_lost_and_won_and_some_turn_decides(name: str, number: int) -> None:
    world = WORLDS[name](number)
    assert ((world.score > 0.01) & (world.score < 0.99)).all()
    assert np.abs(world.advantage).max() > 0.1
    drawn = sample(world, groups=2, size=4, rng=np.random.default_rng(number))
    paid = drawn.batch.rollouts.sum(drawn.batch.reward)
    assert ((paid >= 0.0) & (paid <= SUCCESS_REWARD * (1 + 1e-12))).all()


@pytest.mark.parametrize("name", [name for name in WORLDS if name not in ("maze", "craft")])
def test_the_mean_outcome_of_samples_is_the_exact_score(name: str) -> None:
    world = WORLDS[name](0)
    drawn = sample(world, groups=1, size=6000, rng=np.random.default_rng(0))
    paid = drawn.batch.rollouts.sum(drawn.batch.reward) / SUCCESS_REWARD
    assert paid.mean() == pytest.approx(world.score[0], abs=4 * paid.std() / np.sqrt(len(paid)))
    assert action_values(world) == pytest.approx(world.quality)


@pytest.mark.parametrize("name", ["delay", "fork", "tail"])
def test_credit_by_state_leaks_less_than_the_outcome(name: str) -> None:
    world = WORLDS[name](1)
    assert leakage_of(world, build("crbc", omega=100.0)) < 0.9 * leakage_of(world, outcome)


def measured(world: Tabular, credit: dict[str, Estimator], size: int = 8) -> list[TruthComparison]:
    return list(compare_with_truth(world, credit, size=size, rollouts=6400, rng=np.random.default_rng(1)))


def test_the_returns_minus_the_group_mean_have_the_true_gradient_on_average() -> None:
    # Leave-one-out is unbiased as a gradient, whatever a single row looks like; its rows leak.
    (loo,) = measured(recovery(), {"loo": build("rloo")})
    assert loo.mean_cosine.value == pytest.approx(1.0, abs=0.02)
    assert loo.gradient_error.value < 0.1
    assert loo.gradient_variance.value > 0.1
    assert loo.bias.value > 0.1


def test_a_slow_reference_of_the_identification_and_of_the_mean_gradient() -> None:
    world, size = recovery(chance=0.6), 4
    rng = np.random.default_rng(1)
    rounds = 6400 // (BLOCKS * size)
    draws = [sample(world, groups=rounds, size=size, rng=rng) for _ in range(BLOCKS)]
    (mine,) = measured(world, {"gigpo": build("gigpo")}, size=size)
    credit = [build("gigpo")(draw.batch).value for draw in draws]
    right = [
        np.sign(value) == np.sign(truth)
        for draw, values in zip(draws, credit, strict=True)
        for value, truth in zip(values, draw.truth, strict=True)
    ]
    assert mine.sign.value == pytest.approx(np.mean(right))
    gradients = []
    for draw, values in zip(draws, credit, strict=True):
        for group in range(rounds):
            gradient = np.zeros_like(world.policy)
            for row in np.flatnonzero(draw.batch.group == group):
                gradient[draw.state[row]] -= values[row] * world.policy[draw.state[row]]
                gradient[draw.state[row], draw.action[row]] += values[row]
            gradients.append(gradient / size)
    mean = np.mean(gradients, 0)
    true = np.zeros_like(mean)
    true[0] = 0.5 * world.advantage[0, 0]
    true[1] = 0.5 * 0.5 * world.advantage[1, 1]
    cosine = (mean * true).sum() / np.linalg.norm(mean) / np.linalg.norm(true)
    assert mine.mean_cosine.value == pytest.approx(cosine, abs=0.01)
    error = np.linalg.norm(mean - true) / np.linalg.norm(true)
    assert mine.gradient_error.value == pytest.approx(error, abs=0.01)
