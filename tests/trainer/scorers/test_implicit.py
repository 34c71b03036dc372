"""Implicit step rewards: pairs, their gradient and the rewards, against loops and torch; refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.types import Trajectory
from tests.fakes import Corridor, group, step
from tests.trainer.run_stack import configured, defaults, one_update
from trainer.config.build import ConfigError
from trainer.config.learner import LossConfig
from trainer.scorers import Rollouts, StepRewards
from trainer.scorers.implicit import ImplicitReward, preference_credit, preferences
from trainer.setup.credit import checked_estimator

RETURNS = st.lists(st.lists(st.sampled_from([0.0, 0.5, 10.0]), min_size=1, max_size=5), min_size=1, max_size=3)


class ListedTwin:
    """Its log-probs are a list; a step adds a tenth of the credit to each token of a row."""

    def __init__(self, logprobs: list[float], lens: list[int]) -> None:
        self.values = np.array(logprobs, np.float32)
        self.lens = lens
        self.credits: list[np.ndarray] = []

    def logprobs(self) -> np.ndarray:
        return self.values

    def ascend(self, credit: np.ndarray) -> float:
        self.credits.append(credit)
        self.values = self.values + np.repeat(credit / 10, self.lens).astype(np.float32)
        return float(len(self.credits))


def rollouts_of(returns: list[list[float]]) -> Rollouts:
    groups = tuple(group(*([step(), step(reward=paid)] for paid in of_group)) for of_group in returns)
    return Rollouts(groups=groups, env=Corridor(), folder=Path("nowhere"))


@settings(deadline=None)
@given(returns=RETURNS)
def test_the_pairs_are_those_of_a_group_with_unequal_returns(returns: list[list[float]]) -> None:
    expected = set()
    first = 0
    for of_group in returns:
        expected |= {(first + i, first + j) for i, a in enumerate(of_group) for j, b in enumerate(of_group) if a > b}
        first += len(of_group)
    better, worse = preferences(rollouts_of(returns))
    assert set(zip(better.tolist(), worse.tolist(), strict=True)) == expected
    assert len(better) == len(expected)


def test_returns_that_differ_by_rounding_are_no_pair() -> None:
    better, _ = preferences(rollouts_of([[0.1 + 0.2, 0.3, 0.3 - 1e-9]]))
    assert len(better) == 0


@settings(deadline=None)
@given(total=st.lists(st.floats(-30, 30), min_size=3, max_size=3))
def test_the_credit_is_the_gradient_that_torch_finds(total: list[float]) -> None:
    better, worse = np.array([0, 0, 1]), np.array([1, 2, 2])
    leaf = torch.tensor(total, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.logsigmoid(leaf[better] - leaf[worse]).mean().backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(preference_credit(np.array(total), better, worse), leaf.grad.numpy(), atol=1e-12)


def scored(twin: ListedTwin, **options: float) -> StepRewards:
    given = rollouts_of([[8.0, 0.0], [0.0, 0.0]])
    lens = [len(row.step.completion.token_ids) for row in given.table]
    twin.lens = lens
    return ImplicitReward(**options)(replace(given, twin=twin, logprobs=np.full(sum(lens), -1.0, np.float32)))  # pyright: ignore[reportArgumentType]


def tokens() -> int:
    return len(step().completion.token_ids)


def test_a_step_earns_the_summed_log_ratio_after_the_copy_has_learned() -> None:
    twin = ListedTwin([-1.0] * 8 * tokens(), [])
    result = scored(twin, beta=0.5, weight=2.0)
    # Of one pair with margin 0: the gradient of log sigmoid is half of beta, up for the better rollout.
    (credit,) = twin.credits
    np.testing.assert_allclose(credit, [0.25, 0.25, -0.25, -0.25, 0.0, 0.0, 0.0, 0.0])
    earned = 2.0 * 0.5 * 0.025 * tokens()
    np.testing.assert_allclose(result.value, [earned, earned, -earned, -earned, 0.0, 0.0, 0.0, 0.0], rtol=1e-5)
    assert result.diagnostics == {"pairs": 1.0, "pair_accuracy": 0.5, "grad_norm": 1.0}


@pytest.mark.parametrize(("better", "accuracy"), [(-0.5, 1.0), (-1.5, 0.0)])
def test_the_accuracy_is_of_the_copy_before_it_learns(better: float, accuracy: float) -> None:
    twin = ListedTwin([better] * 2 * tokens() + [-1.0] * 6 * tokens(), [])
    assert scored(twin).diagnostics["pair_accuracy"] == accuracy


def test_further_steps_begin_where_the_last_one_ended() -> None:
    twin = ListedTwin([-1.0] * 8 * tokens(), [])
    assert scored(twin, steps=3, beta=4.0).diagnostics["grad_norm"] == 2.0  # the mean of 1, 2 and 3
    assert twin.credits[0][0] > twin.credits[1][0] > twin.credits[2][0] > 0.0


def test_a_copy_without_pairs_rewards_and_does_not_learn() -> None:
    given = rollouts_of([[1.0, 1.0]])
    count = sum(len(row.step.completion.token_ids) for row in given.table)
    twin = ListedTwin([-2.0] * count, [])
    result = ImplicitReward(beta=0.5)(replace(given, twin=twin, logprobs=np.full(count, -1.0, np.float32)))
    assert (twin.credits, result.diagnostics) == ([], {"pairs": 0.0})
    np.testing.assert_allclose(result.value, -0.5 * tokens())


def test_rollouts_without_a_copy_are_refused() -> None:
    with pytest.raises(ValueError, match="implicit needs a copy of the policy, which only"):
        ImplicitReward()(rollouts_of([[1.0, 0.0]]))


def test_an_update_teaches_the_copy_what_went_better(tmp_path: Path) -> None:
    stack, report = one_update(
        tmp_path,
        1,
        lambda key: "stop" if key[1] == 0 else "go",
        scorer={"name": "implicit", "beta": 0.5},
        estimator={"name": "istar"},
    )
    assert report.rewarded is not None
    assert report.rewarded.diagnostics["pairs"] > 0
    assert stack.learner.twin is not None
    taught = stack.learner.twin.targets
    assert taught is not None
    groups = report.collected.groups
    won = np.array([success(one) for task in groups for one in task.trajectories for _ in one.steps])
    assert (set(np.sign(taught.advantage[won])), set(np.sign(taught.advantage[~won]))) == ({1.0}, {-1.0})
    assert not report.rewarded.value.any()  # this copy says the same as the policy, whatever it learns


def success(rollout: Trajectory) -> bool:
    return sum(one.reward for one in rollout.steps) > 0


def test_a_run_that_cannot_train_the_copy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"group_size=1 with scorer implicit.*set group_size to 2"):
        checked_estimator(configured(tmp_path, estimator={"name": "ppo"}, group_size=1, scorer={"name": "implicit"}))
    learner = replace(defaults().learner, old_logprobs="engine", loss=LossConfig(importance_cap=2.0))
    with pytest.raises(
        ConfigError, match=r"old_logprobs='engine' with scorer implicit.*set learner.old_logprobs=learner"
    ):
        checked_estimator(configured(tmp_path, scorer={"name": "implicit"}, learner=learner))
    with pytest.raises(ConfigError, match=r"'istar' credits step rewards, and the run has no scorer: set scorer="):
        checked_estimator(configured(tmp_path, estimator={"name": "istar"}))
    moved = configured(tmp_path, estimator={"name": "istar"}, scorer={"name": "progress"})
    with pytest.raises(ConfigError, match=r"scorer progress gives the world's reward another place: choose another"):
        checked_estimator(moved)
