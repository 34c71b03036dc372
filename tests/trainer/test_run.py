"""The loop with a policy, a learner and engines of a few lines each: what happens when."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from rollout.collect import RolloutConfig, RolloutsFailed
from rollout.policy import Key, PromptTooLong
from rollout.record import read_groups
from tests.fakes import Corridor, ScriptedPolicy
from tests.trainer.run_stack import Stack, configured, defaults, one_update, stops_at_first
from trainer import checkpoint
from trainer.config.build import ConfigError
from trainer.config.protocol import ProtocolConfig
from trainer.config.settings import CheckpointConfig, ValidationConfig
from trainer.data.tasks import training_tasks
from trainer.report.metric_rows import read_metrics
from trainer.report.progress import Display
from trainer.setup.panels import read_panels

# --- a whole run --------------------------------------------------------------------------------------------------


def test_a_run_validates_before_the_first_update_and_as_often_as_told(tmp_path: Path) -> None:
    stack = Stack()
    result = stack.train(configured(tmp_path, updates=5))
    assert [number for number, _ in result.validations] == [0, 2, 4, 5]
    assert [sorted(one.task_id for one in found.trajectories) for _, found in result.validations] == [["5", "6"]] * 4
    rows = read_metrics(tmp_path)
    assert [row["update"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["update"] for row in rows if "validation/success" in row] == [0, 2, 4, 5]
    assert [event for event in stack.events if event.startswith("publish")] == [
        f"publish {number}" for number in range(6)
    ]


def test_a_run_without_validations_never_plays_a_held_out_task(tmp_path: Path) -> None:
    result = Stack().train(configured(tmp_path, updates=3, validation=ValidationConfig(every=None)))
    assert result.validations == ()
    rows = read_metrics(tmp_path)
    assert [row["update"] for row in rows] == [1, 2, 3]
    assert not any(name.startswith("validation/") for row in rows for name in row)


def test_a_held_out_task_that_cannot_be_played_counts_as_not_solved_and_is_told_in_the_line_and_the_log(
    tmp_path: Path,
) -> None:
    def say(key: Key) -> str:
        if not stack.learner.updates and key[0] == 1:  # of the first validation
            raise PromptTooLong("no room")
        return "go"

    stack, printed = Stack(), StringIO()
    stack.policy = ScriptedPolicy(say)
    lenient = RolloutConfig(history=6, max_failure_share=0.5)
    display = Display(Console(file=printed, width=200))
    stack.train(configured(tmp_path, updates=1, rollout=lenient), display)
    before, after = read_metrics(tmp_path)
    assert (before["validation/success"], before["validation/not_played"]) == (0.5, 1.0)
    assert before["validation/not_played prompt_too_long"] == 1.0
    assert (after["validation/success"], after["validation/not_played"]) == (1.0, 0.0)
    assert "success 50.0 % [9.5, 90.5] (1/2), 1 not played: prompt_too_long\n" in printed.getvalue()


def test_groups_that_an_update_could_not_play_are_told_by_reason(tmp_path: Path) -> None:
    printed = StringIO()
    config = configured(tmp_path, updates=1, groups_per_update=4, validation=ValidationConfig(every=9, tasks=1))
    stack = Stack(script=unplayable_third)
    stack.train(config, Display(Console(file=printed, width=200)))
    assert "update 1, 1 not played: prompt_too_long, of 4 groups\n" in printed.getvalue()


def unplayable_third(key: Key) -> str:
    if key[0] == 3:
        raise PromptTooLong("no room")
    return stops_at_first(key)


def test_an_update_none_of_whose_groups_can_be_played_ends_the_run(tmp_path: Path) -> None:
    def never(_: Key) -> str:
        raise PromptTooLong("no room")

    with pytest.raises(RolloutsFailed, match="all 3 of 3 groups dropped"):
        one_update(tmp_path, 1, never, rollout=RolloutConfig(history=6, max_failure_share=1.0))


def test_a_run_leaves_its_newest_checkpoints_and_names_the_last_ones_model(tmp_path: Path) -> None:
    result = Stack().train(configured(tmp_path, updates=7))
    assert result.model == tmp_path / checkpoint.FOLDER / "update-000007" / "model"
    assert (result.model / "config.json").is_file()
    assert sorted(path.name for path in result.model.parents[1].glob("update-*")) == ["update-000006", "update-000007"]


def test_a_run_saves_itself_often_and_exports_its_model_rarely_and_at_its_end(tmp_path: Path) -> None:
    often = CheckpointConfig(every=1, export_every=3, keep=9)
    result = Stack().train(configured(tmp_path, updates=5, checkpoint=often))
    folders = sorted((tmp_path / checkpoint.FOLDER).glob("update-*"))
    assert [folder.name for folder in folders] == [f"update-{number:06d}" for number in range(1, 6)]
    assert [(folder / "model").is_dir() for folder in folders] == [False, False, True, False, True]
    assert result.model == folders[-1] / "model"


def test_an_export_that_is_due_between_two_checkpoints_brings_one(tmp_path: Path) -> None:
    Stack().train(configured(tmp_path, updates=4, checkpoint=CheckpointConfig(every=2, export_every=3, keep=9)))
    folders = sorted((tmp_path / checkpoint.FOLDER).glob("update-*"))
    assert [folder.name for folder in folders] == ["update-000002", "update-000003", "update-000004"]


def test_a_run_that_is_told_to_records_what_it_learned_from(tmp_path: Path) -> None:
    stack = Stack()
    stack.train(configured(tmp_path, updates=2, record="rollouts", validation=ValidationConfig(every=9, tasks=2)))
    recorded = [list(read_groups(tmp_path / "rollouts" / f"update-{number:06d}.jsonl.zst")) for number in (1, 2)]
    assert [[group.task_id for group in groups] for groups in recorded] == [
        [task.task_id for task in training_tasks(("1", "2", "3", "4"), seed=0, update=number, groups=3)]
        for number in (0, 1)
    ]
    assert {group.revisions for groups in recorded for group in groups} == {None}
    tokens = sum(
        len(step.completion.token_ids)
        for group in recorded[0]
        for rollout in group.trajectories
        for step in rollout.steps
    )
    scored = np.load(tmp_path / "rollouts" / "update-000001.logprobs.npy")
    assert scored.tolist() == [stack.learner.logprob] * tokens


@pytest.mark.parametrize("unit", ["turn", "token"])
def test_what_the_critic_said_is_recorded(tmp_path: Path, unit: str) -> None:
    stack = Stack(script=stops_at_first)
    estimator = {"name": "ppo", "gae": unit}
    stack.train(configured(tmp_path, updates=1, record="rollouts", estimator=estimator))
    start = tmp_path / "rollouts" / "update-000001"
    groups = list(read_groups(start.with_name(f"{start.name}.jsonl.zst")))
    steps = [step for group in groups for rollout in group.trajectories for step in rollout.steps]
    tokens = sum(len(step.completion.token_ids) for step in steps)
    values = np.load(f"{start}.values.npy").tolist()
    assert values == [stack.learner.value] * (tokens if unit == "token" else len(steps))


def test_log_probs_are_recorded_of_the_rollouts_and_not_of_their_retries(tmp_path: Path) -> None:
    revise = replace(defaults().revise, mode="retry", references=1)
    Stack(script=stops_at_first).train(configured(tmp_path, updates=1, record="rollouts", revise=revise))
    start = tmp_path / "rollouts" / "update-000001"
    groups = list(read_groups(start.with_name(f"{start.name}.jsonl.zst")))
    assert any(group.retries for group in groups)
    steps = [step for group in groups for rollout in group.trajectories for step in rollout.steps]
    assert len(np.load(f"{start}.logprobs.npy")) == sum(len(step.completion.token_ids) for step in steps)


def test_revisions_are_recorded_with_the_rollouts(tmp_path: Path) -> None:
    stack = Stack(script=stops_at_first)
    stack.train(configured(tmp_path, updates=1, record="rollouts", estimator={"name": "ibpo"}))
    groups = list(read_groups(tmp_path / "rollouts" / "update-000001.jsonl.zst"))
    assert [
        [(one.trajectory.sibling, one.reference, one.credit) for one in group.revisions or ()] for group in groups
    ] == [[(0, 1, 0.5)]] * 3


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_run_removes_at_its_start_what_a_killed_one_left_half_written(tmp_path: Path, resume: Any) -> None:
    left = [tmp_path / "checkpoints" / f".update-000002.0a1b2c3d.{kind}" for kind in ("partial", "universal")]
    for folder in left:
        folder.mkdir(parents=True)
    Stack().train(configured(tmp_path, updates=1, resume=resume))
    assert not any(folder.exists() for folder in left)


class Impatient(Display):
    """Finds every look at the clock thirty seconds late, and looks whenever work begins."""

    def __init__(self) -> None:
        self.out, self.now = StringIO(), 0.0
        super().__init__(Console(file=self.out, soft_wrap=True), clock=lambda: self.now)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        with super().doing(what):
            self.now += 30
            self.beat()
            yield


def test_every_phase_of_a_run_can_say_what_it_does(tmp_path: Path) -> None:
    display = Impatient()
    Stack().train(configured(tmp_path, updates=2), display)
    lines = display.out.getvalue().splitlines()
    beats = [line.removeprefix("· ").removesuffix(" for 30 s") for line in lines if line.startswith("·")]
    phases = ("score", "credit", "learn", "publish")
    assert beats == [
        "publish",
        "updates 0/2, rollouts of update 1 0/6, collect",
        *(f"updates 0/2, {phase}" for phase in phases),
        "updates 1/2, rollouts of update 2 0/6, collect",
        *(f"updates 1/2, {phase}" for phase in phases),
        "updates 1/2, checkpoint",
    ]


def test_the_line_of_an_update_fits_a_terminal_of_eighty_columns(tmp_path: Path) -> None:
    display = Impatient()
    Stack().train(configured(tmp_path, updates=2), display)
    lines = [line for line in display.out.getvalue().splitlines() if line.startswith("update ")]
    assert [line.split()[:3] for line in lines] == [["update", "1/2", "success"], ["update", "2/2", "success"]]
    assert max(map(len, lines)) + len("150/150") - len("2/2") + len("999.9") - len("0.0") <= 80


# --- what the validations are of ----------------------------------------------------------------------------------


def test_a_run_says_which_tasks_its_validations_are_of(tmp_path: Path) -> None:
    printed = StringIO()
    Stack().train(configured(tmp_path, updates=1), Display(Console(file=printed, width=200)))
    (panel,) = read_panels(tmp_path / "panel.json")
    stated = json.loads((tmp_path / "conditions.json").read_text())
    assert [task.task_id for task in panel.tasks] == ["5", "6"]
    assert (stated["panel"]["digest"], stated["panel"]["tasks"], stated["temperature"]) == (panel.digest, 2, 0.4)
    assert stated["packages"].keys() >= {"python", "stepcredit", "torch"}
    assert f"2 of 2 tasks of corridor test, panel {panel.digest[:16]}, temp" in printed.getvalue()


def test_a_run_says_where_it_is_not_the_protocol_that_it_names(tmp_path: Path) -> None:
    published = ProtocolConfig(
        source="1234.56789", settings={"updates": 150, "env": {"history": 6}}, always=("Small.",)
    )
    printed = StringIO()
    going_on = configured(tmp_path, updates=1, protocol=published)
    Stack().train(going_on, Display(Console(file=printed, width=200)))
    stated = json.loads((tmp_path / "conditions.json").read_text())
    assert stated["protocol"] == {"source": "1234.56789", "runs": 3}
    assert stated["deviations"] == ["updates is 1, published: 150", "Small."]
    sentences = "".join(f"  {one}\n" for one in stated["deviations"])
    assert f"protocol of 1234.56789, 2 deviations:\n{sentences}" in printed.getvalue()


def test_a_run_does_not_go_on_where_a_held_out_task_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Stack().train(configured(tmp_path, updates=2))
    monkeypatch.setattr(Corridor, "kind", lambda self, task_id: "long")
    with pytest.raises(ConfigError, match=r"panel\.json is of other tasks than env\.options give now \(2 changed"):
        Stack().train(configured(tmp_path, updates=4, resume="auto"))


def test_a_run_that_goes_on_with_fewer_held_out_tasks_says_so(tmp_path: Path) -> None:
    Stack().train(configured(tmp_path, updates=2))
    printed, fewer = StringIO(), ValidationConfig(every=2, tasks=1)
    going_on = configured(tmp_path, updates=4, resume="auto", validation=fewer)
    Stack().train(going_on, Display(Console(file=printed, width=200)))
    assert "validation goes on with other tasks than before: 1 lost" in printed.getvalue()
