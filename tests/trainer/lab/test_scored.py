"""Scorers in generated worlds: what they pay there, and that they are measured beside the estimator without them."""

from pathlib import Path

import numpy as np
import pytest

from estimators import build
from trainer.config.build import ConfigError
from trainer.lab.config import LabConfig, TruthConfig
from trainer.lab.measure.scored import plan_of, rewarded
from trainer.lab.measure.truth import compare_with_truth
from trainer.lab.plan import plan_lab
from trainer.lab.worlds.bench import APART
from trainer.lab.worlds.tabular import sample
from trainer.scorers.milestones import Milestones
from trainer.scorers.plan import PlanMatch
from trainer.scorers.progress import Progress

DETOUR = APART["detour"](0)
DRAWN = sample(DETOUR, groups=32, size=4, rng=np.random.default_rng(0))


def test_a_milestone_pays_the_action_that_reaches_it_for_the_first_time() -> None:
    paid = rewarded(DETOUR, DRAWN.batch, Milestones(weight=2.0)).step_reward
    seen: dict[int, set[int]] = {}
    expected = np.zeros(len(DRAWN.batch))
    assert DETOUR.milestones is not None
    for row in np.lexsort((DRAWN.turn, DRAWN.batch.trajectory)):
        gained = int(DETOUR.milestones[DRAWN.state[row], DRAWN.action[row]])
        before = seen.setdefault(int(DRAWN.batch.trajectory[row]), set())
        expected[row] = 2.0 * (gained > 0 and gained not in before)
        before.add(gained)
    assert paid is not None
    assert paid.tolist() == expected.tolist()


def test_the_plan_of_a_detour_goes_straight_to_the_goal() -> None:
    rooms = len(DETOUR.policy)
    assert plan_of(DETOUR, 0).tolist() == [int(DETOUR.keys[room, 0]) for room in range(rooms)]


def test_an_action_of_the_plan_is_paid_as_often_as_the_plan_has_it() -> None:
    paid = rewarded(DETOUR, DRAWN.batch, PlanMatch()).step_reward
    assert paid is not None
    assert paid.tolist() == (DRAWN.action == 0).astype(float).tolist()  # each room is left once


def test_progress_moves_the_worlds_reward_within_each_rollout() -> None:
    moved = rewarded(DETOUR, DRAWN.batch, Progress()).step_reward
    assert moved is not None
    np.testing.assert_allclose(DRAWN.batch.rollouts.sum(moved), 0.0, atol=1e-9)
    assert np.abs(moved).max() > 1.0


def test_the_scorers_stand_beside_the_estimator_alone_and_a_detour_misleads_it() -> None:
    scorers = {"milestones": Milestones(weight=10.0), "plan": PlanMatch(weight=10.0)}
    alone, misled, led = compare_with_truth(
        DETOUR, {"gigpo": build("gigpo")}, size=8, rollouts=1280, rng=np.random.default_rng(1), scorers=scorers
    )
    assert [one.estimator for one in (alone, misled, led)] == ["gigpo", "gigpo + milestones", "gigpo + plan"]
    assert misled.mean_cosine.value < alone.mean_cosine.value - 0.2
    assert led.alignment.value > alone.alignment.value


@pytest.mark.parametrize(
    ("scorers", "message"),
    [
        (("milestone",), r"scorers: scorer 'milestone' is unknown: did you mean 'milestones'\?"),
        (({"name": "judge", "url": "http://x", "model": "y"},), "reads texts, and generated worlds have none"),
    ],
)
def test_a_scorer_that_cannot_work_in_a_generated_world_is_refused(scorers, message: str, tmp_path: Path) -> None:
    truth = TruthConfig(sizes=(2,), rollouts=1, mazes=(), worlds=("mend",))
    with pytest.raises(ConfigError, match=message):
        plan_lab(LabConfig(output=str(tmp_path), estimators=("grpo",), scorers=scorers, truth=truth))
