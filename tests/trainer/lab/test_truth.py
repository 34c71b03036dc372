"""The error against the truth: exact credit has none, noise is told from bias, and good estimators come nearer."""

from dataclasses import replace

import numpy as np
import pytest

from estimators import Advantages, StepBatch, build
from trainer.lab.measure.truth import BLOCKS, Cells, Gradients, Rows, Sums, banded, split, truth_errors
from trainer.lab.report.pictures import truth_figure
from trainer.lab.worlds.maze import MazeConfig, maze
from trainer.lab.worlds.tabular import Sample, Tabular, sample, true_gradient

SMALL = MazeConfig(width=3, tasks=2, pits=1, horizon=6)
GROUPS = 10  # of a block


@pytest.fixture(scope="module")
def world() -> Tabular:
    return maze(SMALL)


@pytest.fixture(scope="module")
def draws(world: Tabular) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [sample(world, groups=GROUPS, size=8, rng=rng) for _ in range(BLOCKS)]


@pytest.fixture(scope="module")
def cells(world: Tabular, draws: list[Sample]) -> Cells:
    return Cells(world, Rows.of(draws, GROUPS))


@pytest.fixture(scope="module")
def truth(draws: list[Sample]) -> np.ndarray:
    return np.concatenate([draw.truth for draw in draws])


def test_the_truth_itself_has_no_error_at_any_scale(cells: Cells, truth: np.ndarray) -> None:
    found = cells.errors(3.0 * truth)
    assert [found[name].value for name in ("error", "bias", "variance")] == pytest.approx([0.0] * 3, abs=1e-9)
    assert (found["scale"].value, found["correlation"].value) == pytest.approx((1 / 3, 1.0))
    assert found["raw_error"].value == pytest.approx(4 * (truth**2).mean(), rel=0.02)  # (3 - 1)^2 E A^2


def test_noise_is_variance_and_no_bias(cells: Cells, truth: np.ndarray) -> None:
    # Independent noise of variance 4: what the square of a mean would count as bias must not be there.
    noise = 2.0 * np.random.default_rng(1).standard_normal(len(truth))
    found = cells.errors(truth + noise)
    assert abs(found["raw_bias"].value) < 0.1
    assert found["raw_variance"].value == pytest.approx(4.0, rel=0.05)
    assert abs(found["bias"].value) < 2 * found["bias"].half + 0.01


def test_noise_that_a_group_shares_is_no_bias_either(cells: Cells, draws: list[Sample], truth: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    shared = np.concatenate([2.0 * rng.standard_normal(GROUPS)[draw.batch.group] for draw in draws])
    found = cells.errors(truth + shared)
    assert abs(found["raw_bias"].value) < 3 * found["raw_bias"].half
    assert found["raw_variance"].value == pytest.approx(4.0, rel=0.2)


def test_an_offset_that_depends_on_the_cell_is_bias_and_no_variance(cells: Cells, draws: list[Sample]) -> None:
    truth = np.concatenate([draw.truth for draw in draws])
    offset = np.concatenate([np.where(draw.state % 2 == 0, 1.0, -1.0) for draw in draws])
    found = cells.errors(truth + offset)
    assert found["raw_bias"].value == pytest.approx(1.0, abs=0.02)
    assert abs(found["raw_variance"].value) < 0.02


def test_a_split_on_paper() -> None:
    # One cell, A = 1; three groups with one row each: e = 2, 4, 6. Products of two groups: 2 (8 + 12 + 24) / 6 = 44/3.
    # E e A = 4, E e^2 = 56/3. c = 4 / (44/3) = 3/11; bias = 1 - 4 c = -1/11; variance = c^2 (56 - 44) / 3 = 36/121.
    sums = Sums(n=np.array([3.0]), e=np.array([12.0]), nn=np.array([3.0]), ee=np.array([56.0]), square=np.array([56.0]))
    found = split(sums, np.array([1.0]))
    assert found["scale"] == pytest.approx(3 / 11)
    assert found["bias"] == pytest.approx(-1 / 11)
    assert found["variance"] == pytest.approx(36 / 121)
    assert found["raw_bias"] == pytest.approx(44 / 3 - 8 + 1)
    assert found["raw_variance"] == pytest.approx(4.0)
    assert found["correlation"] == pytest.approx(4 / np.sqrt(56 / 3))


def test_what_no_two_groups_have_seen_cannot_be_told() -> None:
    sums = Sums(n=np.array([1.0]), e=np.array([2.0]), nn=np.array([1.0]), ee=np.array([4.0]), square=np.array([4.0]))
    assert np.isnan(list(split(sums, np.array([1.0])).values())).all()


def test_credit_of_nothing_has_no_scale_and_a_cosine_of_0(
    world: Tabular, draws: list[Sample], cells: Cells, truth: np.ndarray
) -> None:
    found = cells.errors(np.zeros_like(truth))
    assert np.isnan(found["error"].value)
    assert found["raw_error"].value == pytest.approx((truth**2).mean(), rel=0.02)
    assert set(Gradients(world, Rows.of(draws, GROUPS)).cosines(np.zeros_like(truth)).tolist()) == {0.0}


def test_a_groups_gradient_is_the_sum_over_its_rows(world: Tabular, draws: list[Sample], truth: np.ndarray) -> None:
    # By loops over rows with the whole table in hand.
    from_rows = []
    exact = true_gradient(world)
    for draw in draws[:1]:
        for group in range(GROUPS):
            made = np.zeros_like(world.policy)
            for row in np.flatnonzero(draw.batch.group == group):
                made[draw.state[row]] -= draw.truth[row] * world.policy[draw.state[row]]
                made[draw.state[row], draw.action[row]] += draw.truth[row]
            true = exact[group % 2]
            from_rows.append((made * true).sum() / np.linalg.norm(made) / np.linalg.norm(true))
    found = Gradients(world, Rows.of(draws, GROUPS)).cosines(truth)
    assert found[:GROUPS] == pytest.approx(from_rows)


def test_a_band_is_the_jackknifes() -> None:
    # Of a mean the jackknife's deviation is the standard error, std / sqrt(n).
    values = np.random.default_rng(0).standard_normal(BLOCKS)
    left_out = [(values.sum() - one) / (BLOCKS - 1) for one in values]
    found = banded(np.array([values.mean(), *left_out]))
    assert found.half == pytest.approx(2.093 * values.std(ddof=1) / np.sqrt(BLOCKS), rel=1e-3)


def test_an_estimator_that_knows_states_and_time_converges_to_the_truth(world: Tabular) -> None:
    """The return to go against its mean at (state, turn), undiscounted: no bias but that of a finite group."""

    def at_turn(batch: StepBatch) -> Advantages:
        to_go = batch.rollouts.sum(batch.reward)[batch.rollouts.label]  # all is paid at the end
        seen = batch.anchors.split(batch.time)
        return Advantages(value=to_go - seen.mean(to_go)[seen.label])

    found = {
        size: next(truth_errors(world, {"mine": at_turn}, size=size, rollouts=12800, rng=np.random.default_rng(size)))
        for size in (4, 64)
    }
    assert found[64].raw_bias.value < 0.25 * found[4].raw_bias.value
    assert found[64].bias.value < 0.05
    assert found[64].alignment.value > found[4].alignment.value + 0.2


def test_credit_per_action_in_a_state_gives_the_gradient_that_returns_give(world: Tabular) -> None:
    # Of a tabular policy: summed over the rows of one state and action, a mean is as good as what it is a mean of.
    both = {"returns": build("bipace", variant="state_only", eps=0.05), "actions": build("bipace", eps=0.05)}
    clear = maze(MazeConfig(width=3, tasks=2, pits=1, horizon=6, noise=0.0))
    one, other = truth_errors(clear, both, size=16, rollouts=3200, rng=np.random.default_rng(0))
    assert one.alignment.value == pytest.approx(other.alignment.value, abs=0.01)
    assert other.variance.value < 0.9 * one.variance.value


def test_a_world_where_nothing_that_is_done_matters_has_no_error_to_tell() -> None:
    far = maze(MazeConfig(width=9, tasks=1, pits=0, horizon=2))
    (found,) = truth_errors(far, {"turn": by_turn}, size=4, rollouts=400, rng=np.random.default_rng(0))
    told = (found.error, found.bias, found.variance, found.correlation, found.alignment)
    assert np.isnan([one.value for one in told]).all()
    assert found.signal == 0.0
    assert found.raw_error.value == pytest.approx(0.5)  # of credit 0 and 1, as often
    truth_figure([found])


def by_turn(batch: StepBatch) -> Advantages:
    return Advantages(value=batch.time.astype(np.float64))


def test_a_task_without_a_true_gradient_has_no_cosine(world: Tabular) -> None:
    # The second task starts in a state of its own, from which every action fails at once.
    states = len(world.policy)
    ends = world.successor
    ends = np.where(ends >= states, ends + 1, ends)  # success and failure move up by one
    dead = replace(
        world,
        successor=np.concatenate([ends, np.full_like(ends[:1], states + 2)]),
        chance=np.concatenate([world.chance, world.chance[:1]]),
        policy=np.concatenate([world.policy, world.policy[:1]]),
        keys=np.concatenate([world.keys, world.keys[:1]]),
        looks=np.concatenate([world.looks, world.looks[:1]]),
        starts=np.array([world.starts[0], states]),
    )
    draws = [sample(dead, groups=GROUPS, size=8, rng=np.random.default_rng(block)) for block in range(BLOCKS)]
    gradients, credit = Gradients(dead, Rows.of(draws, GROUPS)), np.concatenate([draw.truth for draw in draws])
    live = gradients.cosines(credit).reshape(BLOCKS, GROUPS)[:, ::2]
    assert gradients.alignment(credit) == pytest.approx(live.mean(1))
    assert live.mean() > 0.5


def test_every_task_comes_equally_often_and_the_groups_are_as_many_as_asked(world: Tabular) -> None:
    (found,) = truth_errors(world, {"grpo": build("grpo")}, size=4, rollouts=1000, rng=np.random.default_rng(0))
    assert found.groups == 280  # 20 blocks of 7 rounds of 2 tasks: 1,120 rollouts, the first number not below 1,000
    assert (found.world, found.estimator, found.size) == ("maze", "grpo", 4)
    assert found.covered > 0.9
