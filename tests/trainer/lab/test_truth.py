"""Credit against the truth: exact credit has no error, noise is no bias, and good estimators come nearer."""

from dataclasses import replace

import numpy as np
import pytest

from estimators import Advantages, StepBatch, build
from trainer.lab.measure.gradients import Gradients
from trainer.lab.measure.jackknife import BLOCKS, jackknife
from trainer.lab.measure.rows import SampledRows
from trainer.lab.measure.squares import Cells, CellSums, split
from trainer.lab.measure.truth import compare_with_truth
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
    return Cells(world, SampledRows.of(draws, GROUPS))


@pytest.fixture(scope="module")
def truth(draws: list[Sample]) -> np.ndarray:
    return np.concatenate([draw.truth for draw in draws])


def test_the_truth_itself_has_no_error_at_any_scale(cells: Cells, truth: np.ndarray) -> None:
    numbers = cells.errors(3.0 * truth)
    assert [numbers[name].value for name in ("error", "bias", "variance")] == pytest.approx([0.0] * 3, abs=1e-9)
    assert (numbers["scale"].value, numbers["correlation"].value) == pytest.approx((1 / 3, 1.0))
    assert numbers["raw_error"].value == pytest.approx(4 * (truth**2).mean(), rel=0.02)  # (3 - 1)^2 E A^2


def test_noise_is_variance_and_no_bias(cells: Cells, truth: np.ndarray) -> None:
    # Independent noise of variance 4. The square of a mean would count a part of it as bias.
    noise = 2.0 * np.random.default_rng(1).standard_normal(len(truth))
    numbers = cells.errors(truth + noise)
    assert abs(numbers["raw_bias"].value) < 0.1
    assert numbers["raw_variance"].value == pytest.approx(4.0, rel=0.05)
    assert abs(numbers["bias"].value) < 2 * numbers["bias"].half + 0.01


def test_noise_that_a_group_shares_is_no_bias_either(cells: Cells, draws: list[Sample], truth: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    shared = np.concatenate([2.0 * rng.standard_normal(GROUPS)[draw.batch.group] for draw in draws])
    numbers = cells.errors(truth + shared)
    assert abs(numbers["raw_bias"].value) < 3 * numbers["raw_bias"].half
    assert numbers["raw_variance"].value == pytest.approx(4.0, rel=0.2)


def test_an_offset_that_depends_on_the_cell_is_bias_and_no_variance(cells: Cells, draws: list[Sample]) -> None:
    truth = np.concatenate([draw.truth for draw in draws])
    offset = np.concatenate([np.where(draw.state % 2 == 0, 1.0, -1.0) for draw in draws])
    numbers = cells.errors(truth + offset)
    assert numbers["raw_bias"].value == pytest.approx(1.0, abs=0.02)
    assert abs(numbers["raw_variance"].value) < 0.02


def test_a_split_on_paper() -> None:
    # One cell, A = 1; three groups with one row each: e = 2, 4, 6. Products of two groups: 2 (8 + 12 + 24) / 6 = 44/3.
    # E e A = 4, E e^2 = 56/3. c = 4 / (44/3) = 3/11; bias = 1 - 4 c = -1/11; variance = c^2 (56 - 44) / 3 = 36/121.
    sums = CellSums(
        n=np.array([3.0]), e=np.array([12.0]), nn=np.array([3.0]), ee=np.array([56.0]), square=np.array([56.0])
    )
    numbers = split(sums, np.array([1.0]))
    assert numbers["scale"] == pytest.approx(3 / 11)
    assert numbers["bias"] == pytest.approx(-1 / 11)
    assert numbers["variance"] == pytest.approx(36 / 121)
    assert numbers["raw_bias"] == pytest.approx(44 / 3 - 8 + 1)
    assert numbers["raw_variance"] == pytest.approx(4.0)
    assert numbers["correlation"] == pytest.approx(4 / np.sqrt(56 / 3))


def test_cells_of_a_single_group_have_no_bias_and_no_variance() -> None:
    sums = CellSums(
        n=np.array([1.0]), e=np.array([2.0]), nn=np.array([1.0]), ee=np.array([4.0]), square=np.array([4.0])
    )
    assert np.isnan(list(split(sums, np.array([1.0])).values())).all()


def test_no_credit_at_all_has_no_scale_and_a_cosine_of_0(
    world: Tabular, draws: list[Sample], cells: Cells, truth: np.ndarray
) -> None:
    numbers = cells.errors(np.zeros_like(truth))
    assert np.isnan(numbers["error"].value)
    assert numbers["raw_error"].value == pytest.approx((truth**2).mean(), rel=0.02)
    assert set(Gradients(world, SampledRows.of(draws, GROUPS)).cosines(np.zeros_like(truth)).tolist()) == {0.0}


def test_a_groups_gradient_is_the_sum_over_its_rows(world: Tabular, draws: list[Sample], truth: np.ndarray) -> None:
    # A slow reference: loops over the rows, with a gradient for the whole table.
    from_rows = []
    exact = true_gradient(world)
    for draw in draws[:1]:
        for group in range(GROUPS):
            gradient = np.zeros_like(world.policy)
            for row in np.flatnonzero(draw.batch.group == group):
                gradient[draw.state[row]] -= draw.truth[row] * world.policy[draw.state[row]]
                gradient[draw.state[row], draw.action[row]] += draw.truth[row]
            true = exact[group % 2]
            from_rows.append((gradient * true).sum() / np.linalg.norm(gradient) / np.linalg.norm(true))
    cosines = Gradients(world, SampledRows.of(draws, GROUPS)).cosines(truth)
    assert cosines[:GROUPS] == pytest.approx(from_rows)


def test_the_interval_of_a_mean_is_its_standard_error_times_students_quantile() -> None:
    # For a mean, the jackknife's deviation is the standard error, std / sqrt(n).
    values = np.random.default_rng(0).standard_normal(BLOCKS)
    left_out = [(values.sum() - value) / (BLOCKS - 1) for value in values]
    interval = jackknife(np.array([values.mean(), *left_out]))
    assert interval.half == pytest.approx(2.093 * values.std(ddof=1) / np.sqrt(BLOCKS), rel=1e-3)


def test_an_estimator_that_knows_states_and_time_converges_to_the_truth(world: Tabular) -> None:
    """The undiscounted return to go minus its mean at (state, turn) has no bias but that of a finite group."""

    def at_turn(batch: StepBatch) -> Advantages:
        to_go = batch.rollouts.sum(batch.reward)[batch.rollouts.label]  # the only reward comes at the end
        visits = batch.anchors.split(batch.time)
        return Advantages(value=to_go - visits.mean(to_go)[visits.label])

    by_size = {
        size: next(
            compare_with_truth(world, {"mine": at_turn}, size=size, rollouts=12800, rng=np.random.default_rng(size))
        )
        for size in (4, 64)
    }
    assert by_size[64].raw_bias.value < 0.25 * by_size[4].raw_bias.value
    assert by_size[64].bias.value < 0.05
    assert by_size[64].alignment.value > by_size[4].alignment.value + 0.2


@pytest.mark.parametrize("lam", [0.0, 0.95])
def test_ppo_with_a_perfect_critic_has_no_bias(world: Tabular, draws: list[Sample], cells: Cells, lam: float) -> None:
    ppo = build("ppo", lam=lam, whiten=False)
    numbers = cells.errors(np.concatenate([ppo(draw.batch).value for draw in draws]))
    assert abs(numbers["raw_bias"].value) < 2 * numbers["raw_bias"].half + 0.05
    assert numbers["scale"].value == pytest.approx(1.0, abs=0.1)


def test_the_mean_return_of_an_action_gives_the_same_gradient_as_the_returns(world: Tabular) -> None:
    # For a tabular policy: the sum over the rows of one state and action does not change if each becomes the mean.
    both = {"returns": build("bipace", variant="state_only", eps=0.05), "actions": build("bipace", eps=0.05)}
    clear = maze(MazeConfig(width=3, tasks=2, pits=1, horizon=6, noise=0.0))
    returns, means = compare_with_truth(clear, both, size=16, rollouts=3200, rng=np.random.default_rng(0))
    assert returns.alignment.value == pytest.approx(means.alignment.value, abs=0.01)
    assert means.variance.value < 0.9 * returns.variance.value


def test_the_error_is_undefined_in_a_world_where_no_action_matters() -> None:
    far = maze(MazeConfig(width=9, tasks=1, pits=0, horizon=2))
    (comparison,) = compare_with_truth(far, {"turn": by_turn}, size=4, rollouts=400, rng=np.random.default_rng(0))
    undefined = (comparison.error, comparison.bias, comparison.variance, comparison.correlation, comparison.alignment)
    assert np.isnan([number.value for number in undefined]).all()
    assert comparison.signal == 0.0
    assert comparison.raw_error.value == pytest.approx(0.5)  # credit is 0 and 1 equally often
    truth_figure([comparison])


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
        vectors=np.concatenate([world.vectors, world.vectors[:1]]),
        starts=np.array([world.starts[0], states]),
    )
    draws = [sample(dead, groups=GROUPS, size=8, rng=np.random.default_rng(block)) for block in range(BLOCKS)]
    gradients, credit = Gradients(dead, SampledRows.of(draws, GROUPS)), np.concatenate([draw.truth for draw in draws])
    live = gradients.cosines(credit).reshape(BLOCKS, GROUPS)[:, ::2]
    assert gradients.alignment(credit) == pytest.approx(live.mean(1))
    assert live.mean() > 0.5


def test_every_task_is_drawn_equally_often_and_rollouts_are_rounded_up(world: Tabular) -> None:
    (comparison,) = compare_with_truth(
        world, {"grpo": build("grpo")}, size=4, rollouts=1000, rng=np.random.default_rng(0)
    )
    assert (
        comparison.groups == 280
    )  # 20 blocks of 7 rounds of 2 tasks: 1,120 rollouts, the first number not below 1,000
    assert (comparison.world, comparison.estimator, comparison.size) == ("maze", "grpo", 4)
    assert comparison.covered > 0.9
