"""Matching with the expert's plan: compared with every assignment there is, and with a linear program."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from envs import make
from tests.fakes import Corridor, group, step
from trainer.scorers import Rollouts
from trainer.scorers.plan import PlanMatch, alike, plan_of, sinkhorn

TABLE = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))


def table(shape: tuple[int, int, int]) -> np.ndarray:
    rng = np.random.default_rng(shape[2])
    return rng.integers(0, 5, shape[:2]) / 4.0


def best_total(similar: np.ndarray) -> float:
    """The best one-to-one matching, by trying all."""
    wide = similar if similar.shape[0] <= similar.shape[1] else similar.T
    rows = range(len(wide))
    return max(sum(wide[row, place] for row, place in zip(rows, order, strict=False))
               for order in permutations(range(wide.shape[1]), len(wide)))  # fmt: skip


@settings(deadline=None)
@given(shape=TABLE)
def test_the_hungarian_rewards_are_those_of_the_best_of_all_assignments(shape: tuple[int, int, int]) -> None:
    similar = table(shape)
    reward, matched = PlanMatch(weight=2.0, unmatched=0.5).matched(similar)
    assert reward[matched].sum() == pytest.approx(2.0 * best_total(similar))
    assert reward[~matched].tolist() == [-0.5] * int((~matched).sum())
    assert matched.sum() <= min(similar.shape)


@settings(max_examples=20, deadline=None)
@given(shape=TABLE)
def test_the_transport_has_its_marginals_and_nears_the_linear_programs_cost_as_entropy_falls(
    shape: tuple[int, int, int],
) -> None:
    cost = 1.0 - table(shape)
    steps, places = cost.shape
    plan = sinkhorn(cost, 0.01)
    np.testing.assert_allclose(plan.sum(1), 1 / steps, rtol=1e-9)
    np.testing.assert_allclose(plan.sum(0), 1 / places, atol=0.02)
    sums = np.vstack([np.kron(np.eye(steps), np.ones(places)), np.kron(np.ones(steps), np.eye(places))])
    least = linprog(cost.ravel(), A_eq=sums, b_eq=[1 / steps] * steps + [1 / places] * places).fun
    assert (plan * cost).sum() == pytest.approx(least, abs=0.06)


def test_a_step_of_the_transport_is_worth_its_share_of_similar_steps() -> None:
    # Step 0 is the plan's only step: all of its mass lies on a match; step 1 is like nothing. T = 2, J = 1.
    reward, matched = PlanMatch(matching="sinkhorn").matched(np.array([[1.0], [0.0]]))
    np.testing.assert_allclose(reward, [1.0, 0.0])
    assert matched.tolist() == [True, False]


@pytest.mark.parametrize(
    ("action", "other", "words", "score"),
    [
        ("go", "go", False, 1.0),
        ("go to shelf 1", "go to shelf 2", False, 0.0),
        ("go to shelf 1", "go to shelf 2", True, 3 / 5),
        ("take cup", "put cup", True, 0.0),
        ("", "go", True, 0.0),
    ],
)
def test_actions_are_alike_by_their_words(action: str, other: str, words: bool, score: float) -> None:
    assert alike(action, other, words=words) == alike(other, action, words=words) == score


def test_a_rollout_is_matched_with_the_plan_of_its_own_task_and_an_invalid_step_with_nothing() -> None:
    # The expert goes twice through the corridor of task 2. The first rollout goes three times.
    walked = group([step("go"), step("go"), step("go")], [step("go", valid=False), step("wait")])
    result = PlanMatch(unmatched=0.25)(Rollouts(groups=(walked,), env=Corridor(), folder=Path("nowhere")))
    assert sorted(result.value[:3].tolist()) == [-0.25, 1.0, 1.0]
    assert result.value[3:].tolist() == [-0.25, -0.25]
    assert result.diagnostics == {"matched_share": 0.4, "plan_steps": 2.0, "plan_success": 1.0}


def test_a_plan_is_played_once_for_each_task_and_seed() -> None:
    class Counting(Corridor):
        resets = 0

        def reset(self, task_id: str, *, seed: int = 0):
            self.resets += 1
            return super().reset(task_id, seed=seed)

    env, scorer = Counting(), PlanMatch()
    keys = (("2", 0), ("2", 1), ("3", 0), ("2", 0))
    groups = tuple(group([step("go")], task_id=task, seed=seed) for task, seed in keys)
    scorer(Rollouts(groups=groups, env=env, folder=Path("nowhere")))
    assert env.resets == 3


def test_a_plan_of_textcraft_solves_its_task() -> None:
    env = make("textcraft")
    plan = plan_of(env, env.tasks("train")[0], 0)
    assert plan.won
    assert all(action.startswith(("get", "craft")) for action in plan.actions)


def test_a_world_without_an_expert_is_refused() -> None:
    class Nobody(Corridor):
        def expert(self):
            return iter(())

    with pytest.raises(
        ValueError, match=r"needs a plan of the world's expert: .* takes no step; choose another scorer"
    ):
        PlanMatch().check(Nobody(), "2")
