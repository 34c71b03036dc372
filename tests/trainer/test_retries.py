"""What an update learns from retries: the group that they join, the steps that they share, and what they teach."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from estimators import Advantages
from rollout.policy import Key
from rollout.revise import ReviseConfig
from rollout.types import Retry, RolloutGroup
from tests.fakes import completion, group, step, trajectory
from tests.trainer.run_stack import Stack, configured, defaults, one_update
from trainer.config.build import ConfigError
from trainer.data.retries import aided, shared, with_retries
from trainer.data.rows import RowTable
from trainer.data.tasks import training_tasks
from trainer.metrics import update_numbers
from trainer.setup.credit import checked_estimator
from trainer.step import UpdateReport

LENGTHS = [int(task.task_id) for task in training_tasks(("1", "2", "3", "4"), seed=0, update=0, groups=3)]
SHARED = [min(1, length - 1) for length in LENGTHS]  # steps of each group's failure before its pivot


def stops_soon(key: Key) -> str:
    """The first rollout of a group walks one step, where the corridor has two, and stops. All others arrive."""
    return "stop" if len(key) == 3 and key[1] == 0 and key[2] == SHARED[key[0]] else "go"


def updated(tmp_path: Path, *, group_size: int = 3, **revise: Any) -> tuple[Stack, UpdateReport]:
    """An update of groups with one failure each, which is retried once."""
    return one_update(
        tmp_path,
        1,
        stops_soon,
        estimator={"name": "grpo", "norm": "mean"},
        group_size=group_size,
        revise=replace(defaults().revise, references=1, **revise),
    )


def test_retries_join_their_group_without_what_they_share_and_successes_weigh_more(tmp_path: Path) -> None:
    stack, report = updated(tmp_path, mode="retry", weight=4.0)
    # R = 0, 10, 10 and the retry's 10: 7.5 is the mean. 2.5 counts four times.
    sizes = list(zip(SHARED, LENGTHS, strict=True))
    rollouts = [value for shares, steps in sizes for value in (*[-7.5] * (shares + 1), *[10.0] * 2 * steps)]
    assert report.advantages.value.tolist() == rollouts + [10.0] * sum(LENGTHS)
    live = [mark for shares, steps in sizes for mark in (*[False] * shares, True, *[True] * 2 * steps)]
    retries = [mark for shares, steps in sizes for mark in (*[False] * shares, *[True] * (steps - shares))]
    targets = stack.learner.targets
    assert targets is not None
    assert targets.row_mask.tolist() == live + retries


def test_of_an_intervention_that_succeeds_the_steps_up_to_it_are_taught_beside_the_estimators_credit(
    tmp_path: Path,
) -> None:
    stack, report = updated(tmp_path, group_size=4, mode="intervene", weight=0.5)
    # R = 0, 10, 10, 10 without the retry: 7.5 is the mean.
    sizes = list(zip(SHARED, LENGTHS, strict=True))
    rollouts = [value for shares, steps in sizes for value in (*[-7.5] * (shares + 1), *[2.5] * 3 * steps)]
    taught = [value for shares, steps in sizes for value in (*[0.5] * (shares + 1), *[0.0] * (steps - shares - 1))]
    assert report.advantages.value.tolist() == rollouts + taught
    targets = stack.learner.targets
    assert targets is not None
    assert targets.row_mask.tolist() == [True] * len(rollouts) + [value > 0 for value in taught]


def test_the_cost_of_retries_is_counted_without_the_steps_that_were_taken_again(tmp_path: Path) -> None:
    _, report = updated(tmp_path, mode="retry")
    numbers = update_numbers(report)
    assert [numbers[f"revise/{name}"] for name in ("rollouts", "revisions", "succeeded", "repaired")] == [3.0] * 4
    assert numbers["revise/response_tokens"] == 3.0 * (sum(LENGTHS) - sum(SHARED))  # "go" and its end
    assert numbers["rollout/success"] == 2 / 3  # of the rollouts alone


def with_retry(*, won: bool) -> RolloutGroup:
    """A failure of three steps, a sibling, and a retry from the second step on."""
    failed, sibling = [step("a"), step("b"), step("c")], [step("a")]
    again = trajectory(step("a"), step("x", said=completion(tokens=[4, 5, 2])), won=won)
    return replace(group(failed, sibling), retries=(Retry(trajectory=again, reference=1, pivot=1),))


def test_rows_of_retries_come_last_and_only_where_they_are_asked_for() -> None:
    groups = (with_retry(won=True), group([step("d")]))
    assert [row.step.action for row in RowTable(groups)] == ["a", "b", "c", "a", "d"]
    table = RowTable(groups, retries=True)
    assert [(row.group, row.trajectory, row.time, row.step.action) for row in table][5:] == [
        (0, 3, 0, "a"),
        (0, 3, 1, "x"),
    ]
    assert shared(groups).tolist() == [True, False, False, False, False, True, False]
    assert aided(groups).tolist() == [False] * 6 + [True]


def test_the_credit_of_single_tokens_is_weighed_as_that_of_turns_is() -> None:
    groups = (with_retry(won=True),)
    tokens = np.array([-1.0, 2.0])
    advantages = Advantages(value=np.array([-1.0, 1.0, 0.0, 2.0, -2.0, 4.0]), token_value=tokens)
    credit = with_retries(groups, advantages, ReviseConfig(mode="retry", weight=2.0))
    assert credit.value.tolist() == [-1.0, 2.0, 0.0, 4.0, -2.0, 8.0]
    assert credit.token_value is not None
    assert credit.token_value.tolist() == [-1.0, 4.0]


def test_what_was_sampled_from_another_prompt_is_compared_with_the_learners_own_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.trainer.run_stack.HashLearner.logprob", -2.0)
    stack, report = updated(tmp_path, mode="retry")
    targets = stack.learner.targets
    assert targets is not None
    assert targets.rollout_logprobs is not None
    own = np.repeat(aided(report.collected.groups), [len(row.step.completion.token_ids) for row in table_of(report)])
    assert own.sum() == 3 * len(LENGTHS)  # "go" and its end, once in each retry
    assert set(targets.rollout_logprobs[own]) == {-2.0}
    assert set(targets.rollout_logprobs[~own]) == {-0.5}


ENGINES = replace(
    defaults().learner,
    old_logprobs="engine",
    loss=replace(defaults().learner.loss, importance_cap=2.0),
    optimizer_steps=2,
)


def table_of(report: UpdateReport) -> RowTable:
    return RowTable(report.collected.groups, retries=True)


@pytest.mark.parametrize(
    ("revise", "changes", "told"),
    [
        ({"mode": "retry"}, {"estimator": {"name": "ibpo"}}, ("revise.mode='retry'", "'ibpo'", "revise.mode=revise")),
        ({"mode": "intervene"}, {"estimator": {"name": "ppo"}}, ("revise.mode='intervene'", "'ppo'", "critic")),
        ({"mode": "retry"}, {"estimator": {"name": "ppo"}}, ("revise.mode='retry'", "'ppo'", "critic")),
        ({"mode": "retry"}, {"group_size": 1, "estimator": {"name": "ppo"}}, ("group_size=1", "2 or more")),
        ({"mode": "retry", "credit": 0.7}, {}, ("revise.credit=0.7", "leave it out")),
        ({"mode": "retry"}, {"record": "embeddings"}, ("record='embeddings'", "record=rollouts")),
        ({"weight": 2.0}, {}, ("revise.weight=2.0", "revise.mode=retry")),
        (
            {"mode": "retry"},
            {"learner": ENGINES},
            ("learner.old_logprobs='engine'", "learner.old_logprobs=learner"),
        ),
    ],
    ids=["ibpo", "critic", "critic of kept steps", "alone", "credit", "embeddings", "weight", "engine"],
)
def test_retries_that_could_not_be_learned_from_are_refused(
    tmp_path: Path, revise: dict[str, Any], changes: dict[str, Any], told: tuple[str, ...]
) -> None:
    config = configured(tmp_path, revise=ReviseConfig(**revise), **changes)
    with pytest.raises(ConfigError) as refusal:
        checked_estimator(config)
    assert [part for part in told if part not in str(refusal.value)] == []


@pytest.mark.parametrize("mode", ["retry", "intervene"])
def test_a_scorer_rewards_the_steps_of_retries_too(tmp_path: Path, mode: str) -> None:
    _, report = one_update(
        tmp_path,
        1,
        stops_soon,
        estimator={"name": "grpo"},
        group_size=3,
        revise=replace(defaults().revise, references=1, mode=mode),  # pyright: ignore[reportArgumentType]
        scorer={"name": "milestones"},
    )
    again = [one.trajectory for group in report.collected.groups for one in group.retries]
    assert again
    for rollout in again:
        counts = [0, *(row.milestone or 0 for row in rollout.steps)]
        assert [row.step_reward for row in rollout.steps] == np.diff(counts).tolist()
    assert report.rewarded is not None
    assert len(report.rewarded.value) == len(report.advantages.value)
    assert "scorer/reward_mean" in update_numbers(report)
