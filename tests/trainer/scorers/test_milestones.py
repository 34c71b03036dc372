"""Milestones as rewards, and how any scorer is named, refused and recorded in an update."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from estimators import ESTIMATORS, StepBatch, needs
from estimators import build as build_estimator
from rollout.policy import Key
from rollout.record import read_groups
from rollout.types import RolloutGroup
from tests.estimators.conftest import random_columns
from tests.fakes import Corridor, group, step
from tests.trainer.run_stack import Stack, configured, one_update
from trainer.config.build import ConfigError
from trainer.metrics import update_numbers
from trainer.scorers import Rollouts, StepRewards, build
from trainer.setup.credit import EPISODE_ALONE, checked_estimator

FOUR = (
    [step(milestone=0), step(milestone=2), step(milestone=2)],
    [step(milestone=1), step(milestone=3)],
)


def rollouts(*groups: RolloutGroup, hidden: np.ndarray | None = None) -> Rollouts:
    return Rollouts(groups=groups, env=Corridor(), folder=Path("nowhere"), hidden=hidden)


def scored(options: dict[str, Any], given: Rollouts) -> StepRewards:
    scorer = build(options)
    assert scorer is not None
    return scorer(given)


def test_a_step_earns_the_milestones_that_it_adds() -> None:
    result = scored({"name": "milestones", "weight": 0.5}, rollouts(group(*FOUR), group([step(milestone=1)])))
    assert result.value.tolist() == [0.0, 1.0, 0.0, 0.5, 1.0, 0.5]
    assert result.diagnostics == {"milestones": 2.0}  # 2, 3 and 1


def test_a_step_without_a_milestone_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 tells no milestone"):
        scored({"name": "milestones"}, rollouts(group([step(milestone=0), step()])))


# --- any scorer ---------------------------------------------------------------------------------------------------


def go_or_stop(key: Key) -> str:
    return "stop" if key[1] == 0 else "go"


def test_what_a_scorer_gives_is_recorded_and_every_reward_of_the_estimator_holds_it(tmp_path: Path) -> None:
    # Of each group one rollout stops at once, the other walks to the end of the corridor, a milestone each step.
    ppo = {"name": "ppo", "whiten": False, "invalid_penalty": 0.0, "lam": 1.0}
    _, without = one_update(tmp_path, 1, go_or_stop, estimator=ppo)
    stack, report = one_update(tmp_path, 1, go_or_stop, estimator=ppo, scorer={"name": "milestones", "weight": 2.0})
    played = [rollout for one in report.collected.groups for rollout in one.trajectories]
    for rollout in played:
        counts = [row.milestone for row in rollout.steps]
        assert [row.step_reward for row in rollout.steps] == (2.0 * np.diff(counts, prepend=0)).tolist()
    to_go = [sum(row.step_reward or 0.0 for row in one.steps[at:]) for one in played for at in range(len(one.steps))]
    assert (report.advantages.value - without.advantages.value).tolist() == to_go
    assert stack.learner.targets is not None
    assert list(report.seconds) == ["collect", "score", "reward", "credit", "learn", "publish"]
    numbers = update_numbers(report)
    assert numbers["scorer/success_difference"] > 0
    assert numbers["scorer/reward_mean"] == pytest.approx(
        np.mean([row.step_reward for one in played for row in one.steps])
    )


def test_an_update_without_a_scorer_records_no_step_reward_and_logs_none(tmp_path: Path) -> None:
    _, report = one_update(tmp_path, 1)
    assert {row.step_reward for one in report.collected.groups for t in one.trajectories for row in t.steps} == {None}
    assert [name for name in update_numbers(report) if name.startswith("scorer/")] == []


def short_ones(given: Rollouts) -> StepRewards:
    """A scorer of one's own."""
    return StepRewards(value=np.array([-1.0 for _ in given.table]), diagnostics={"rows": len(given.table)})


def one_for_all(given: Rollouts) -> StepRewards:
    del given
    return StepRewards(value=np.zeros(1))


def test_a_scorer_of_ones_own_is_a_target_and_nothing_else(tmp_path: Path) -> None:
    _, report = one_update(tmp_path, 1, scorer={"_target_": f"{__name__}:short_ones"})
    assert {row.step_reward for one in report.collected.groups for t in one.trajectories for row in t.steps} == {-1.0}
    assert update_numbers(report)["scorer/rows"] == len(report.advantages.value)


def test_a_scorer_that_gives_another_number_of_rewards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gave 1 step rewards for \d+ rows: give one for each row"):
        one_update(tmp_path, 1, scorer={"_target_": f"{__name__}:one_for_all"})


def test_a_reward_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1: step_reward=nan is not finite"):
        StepRewards(value=np.array([0.0, np.nan]))


def test_no_name_and_no_target_is_no_scorer() -> None:
    assert build({}) is build({"_target_": None}) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "milestone"}, r"scorer 'milestone' is unknown: did you mean 'milestones'\?"),
        ({"name": "milestones", "wieght": 1.0}, r"scorer milestones has no option 'wieght': did you mean 'weight'\?"),
        ({"name": "milestones", "weight": -1.0}, r"scorer milestones: weight=-1.0 is out of range: nearest 0.0"),
        ({"_target_": None, "weight": 1.0}, r"scorer has the options weight and no name: choose one"),
        ({"_target_": "nowhere:Mine"}, r"_target_='nowhere:Mine' cannot be loaded"),
        ({"name": "judge"}, r"scorer judge: url is not set: add scorer.url=http"),
        ({"name": "judge", "url": "http://x"}, r"scorer judge: model is not set: add scorer.model=NAME"),
        ({"name": "judge", "url": "x", "model": "y"}, r"scorer judge: url='x' is no address"),
        ({"name": "judge", "url": "http://x", "model": "y", "prompt": "{count}"}, r"prompt does not show {steps}"),
        ({"name": "judge", "url": "http://x", "model": "y", "prompt": "{x}"}, r"prompt is no template of {steps}"),
    ],
)
def test_a_wrong_scorer_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(options)


def test_a_run_with_a_scorer_keeps_what_it_gave(tmp_path: Path) -> None:

    Stack().train(configured(tmp_path, updates=1, record="rollouts", scorer={"name": "milestones"}))
    (kept,) = tmp_path.glob("rollouts/*.zst")
    added = [row.step_reward for one in read_groups(kept) for t in one.trajectories for row in t.steps]
    assert None not in added
    assert sum(value or 0 for value in added) > 0


def test_an_estimator_that_would_leave_all_step_rewards_out_is_refused(tmp_path: Path) -> None:
    columns = random_columns(7, [[3, 5, 2], [4, 4]])
    added = np.arange(len(columns["reward"])) % 3 / 4.0
    without, scored = (
        StepBatch(**columns),
        StepBatch(**{**columns, "reward": columns["reward"] + added}, step_reward=added),
    )
    deaf: set[str] = set()
    for name in ESTIMATORS:
        made = build_estimator(name)
        if hasattr(made, "episode_rewards") and "step_reward" not in needs(made).columns:  # else it has a step term
            estimator = build_estimator(name, episode_rewards="world", **({"eps": 0.1} if name == "bipace" else {}))
            if np.allclose(estimator(without).value, estimator(scored).value):
                deaf.add(name)
    assert deaf == EPISODE_ALONE
    options = {"name": "grpo", "episode_rewards": "world"}
    assert checked_estimator(configured(tmp_path, estimator=options))
    with pytest.raises(ConfigError, match=r"'grpo', which reads the rewards of scorer milestones nowhere else"):
        checked_estimator(configured(tmp_path, estimator=options, scorer={"name": "milestones"}))
