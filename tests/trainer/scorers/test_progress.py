"""Progress attribution: compared with ridge regression written out; the steps sum to the outcome."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import Corridor, group, step
from tests.trainer.run_stack import configured, one_update
from trainer.config.build import ConfigError
from trainer.scorers import Rollouts, StepRewards
from trainer.scorers.progress import Progress, attributed
from trainer.setup.credit import checked_estimator

LENGTHS = st.lists(st.integers(1, 4), min_size=2, max_size=7)
SEED = st.integers(0, 2**32 - 1)


def drawn(seed: int, lengths: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, trajectories and rewards; the outcomes differ."""
    rng = np.random.default_rng(seed)
    trajectory = np.repeat(np.arange(len(lengths)), lengths)
    reward = rng.integers(0, 3, len(trajectory)) / 2.0
    reward[-1] += 10.0
    return rng.standard_normal((len(trajectory), 3)), trajectory, reward


def slow(features: np.ndarray, trajectory: np.ndarray, reward: np.ndarray, ridge: float, folds: int) -> np.ndarray:
    centred = features - features.mean(0)
    wide = np.column_stack([centred / np.sqrt((centred**2).sum(1).mean()), np.ones(len(features))])
    count = trajectory[-1] + 1
    of = [np.flatnonzero(trajectory == one) for one in range(count)]
    total = np.array([wide[rows[1:]].sum(0) for rows in of])
    outcome = np.array([reward[rows].sum() for rows in of])
    share = np.zeros(len(features))
    for one, rows in enumerate(of):
        others = [other for other in range(count) if other % min(folds, count) != one % min(folds, count)]
        x, y = total[others] - total[others].mean(0), outcome[others] - outcome[others].mean()
        strength = ridge * max((x**2).sum() / len(others), 1e-12)
        head = np.linalg.solve(x.T @ x + strength * np.eye(4), x.T @ y)
        share[rows[:-1]] = wide[rows[1:]] @ head
        share[rows[-1]] = outcome[one] - share[rows[:-1]].sum()
    return share


@settings(deadline=None)
@given(seed=SEED, lengths=LENGTHS, folds=st.integers(2, 5))
def test_attribution_is_ridge_regression_on_the_other_folds(seed: int, lengths: list[int], folds: int) -> None:
    columns = drawn(seed, lengths)
    fast, _ = attributed(*columns, ridge=0.5, folds=folds)
    np.testing.assert_allclose(fast, slow(*columns, 0.5, folds), rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(seed=SEED, lengths=LENGTHS)
def test_the_steps_of_a_rollout_sum_to_its_outcome(seed: int, lengths: list[int]) -> None:
    features, trajectory, reward = drawn(seed, lengths)
    share, _ = attributed(features, trajectory, reward, ridge=0.5, folds=3)
    np.testing.assert_allclose(np.bincount(trajectory, share), np.bincount(trajectory, reward), atol=1e-9)


def test_the_step_into_the_state_that_decides_gets_the_outcome() -> None:
    # Two kinds of rollouts of three steps: those that reach state 1 after the first step win, those in state 2 do not.
    states = np.array([[0, 1, 1], [0, 2, 2]] * 20).ravel()
    wins = np.array([[0.0, 0.0, 8.0], [0.0, 0.0, 0.0]] * 20).ravel()
    trajectory = np.repeat(np.arange(40), 3)
    share, explained = attributed(np.eye(3)[states], trajectory, wins, ridge=1e-6, folds=5)
    gap = share.reshape(20, 2, 3).mean(0)
    # The first step and the second both lead into the state that decides, and share the difference of 8.
    np.testing.assert_allclose(gap[0] - gap[1], [4.0, 4.0, 0.0], atol=1e-3)
    assert explained == pytest.approx(1.0, abs=1e-3)


def test_equal_outcomes_are_left_where_they_were_paid() -> None:
    share, explained = attributed(np.eye(4), np.array([0, 0, 1, 1]), np.array([0.0, 2.0, 2.0, 0.0]), ridge=1.0, folds=2)
    assert (share.tolist(), explained) == ([0.0, 2.0, 2.0, 0.0], None)


def scored(**options: float) -> StepRewards:
    won, lost = [step(), step(reward=8.0)], [step(valid=False), step()]
    hidden = np.eye(4, dtype=np.float32)
    given = Rollouts(groups=(group(won, lost),), env=Corridor(), folder=Path("nowhere"), hidden=hidden)
    return Progress(**options)(given)  # pyright: ignore[reportArgumentType]


def test_the_worlds_reward_is_moved_and_none_is_added() -> None:
    whole, half = scored(), scored(weight=0.5)
    np.testing.assert_allclose(whole.value.reshape(2, 2).sum(1), 0.0, atol=1e-9)
    np.testing.assert_allclose(half.value, whole.value / 2)


def test_an_action_that_the_world_understood_earns_the_grounding() -> None:
    np.testing.assert_allclose(scored(grounding=0.5).value - scored().value, [0.5, 0.5, 0.0, 0.5])


def test_a_scorer_with_a_layer_gets_hidden_states_and_the_estimator_without_one_none(tmp_path: Path) -> None:
    _, report = one_update(
        tmp_path, 1, lambda key: "stop" if key[1] == 0 else "go", scorer={"name": "progress", "layer": -2}
    )
    assert report.rewarded is not None
    assert "explained" in report.rewarded.diagnostics
    assert report.scores.embedding is not None


def test_a_scorer_and_an_estimator_that_read_different_layers_are_refused(tmp_path: Path) -> None:
    bipace = {"name": "bipace", "layer": -2, "eps": 0.1}
    same = configured(tmp_path, estimator=bipace, scorer={"name": "progress", "layer": -2})
    assert checked_estimator(same)
    with pytest.raises(ConfigError, match=r"scorer.layer=-1 with estimator.layer=-2.*give both the same"):
        checked_estimator(configured(tmp_path, estimator=bipace, scorer={"name": "progress", "layer": -1}))
