"""The loop with a policy, a learner and engines of a few lines each: what happens when, and what a resume repeats."""

import json
import shutil
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
from rollout.ray_actors import ActorDied, ActorTimeout
from rollout.record import read_groups
from tests.fakes import Corridor, ScriptedPolicy, plain
from tests.trainer.run_stack import Stack, configured, defaults, one_update, stops_at_first
from trainer import checkpoint
from trainer.checkpoint import latest, read_state
from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig
from trainer.config.earlier import ForkConfig
from trainer.config.protocol import ProtocolConfig
from trainer.config.settings import CheckpointConfig, ValidationConfig
from trainer.data.tasks import training_tasks
from trainer.learner.driver import OutOfMemory
from trainer.report.meanings import CLOCKED
from trainer.report.metric_rows import read_metrics
from trainer.report.progress import Display
from trainer.saver import CheckpointFailed
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
def test_what_the_critic_said_is_recorded_and_nothing_of_retries(tmp_path: Path, unit: str) -> None:
    stack = Stack(script=stops_at_first)
    revise = replace(defaults().revise, mode="retry", references=1)
    estimator = {"name": "ppo", "gae": unit}
    stack.train(configured(tmp_path, updates=1, record="rollouts", estimator=estimator, revise=revise))
    start = tmp_path / "rollouts" / "update-000001"
    groups = list(read_groups(start.with_name(f"{start.name}.jsonl.zst")))
    assert any(group.retries for group in groups)
    steps = [step for group in groups for rollout in group.trajectories for step in rollout.steps]
    tokens = sum(len(step.completion.token_ids) for step in steps)
    assert len(np.load(f"{start}.logprobs.npy")) == tokens
    values = np.load(f"{start}.values.npy").tolist()
    assert values == [stack.learner.value] * (tokens if unit == "token" else len(steps))


def test_revisions_are_recorded_with_the_rollouts(tmp_path: Path) -> None:
    stack = Stack(script=stops_at_first)
    stack.train(configured(tmp_path, updates=1, record="rollouts", estimator={"name": "ibpo"}))
    groups = list(read_groups(tmp_path / "rollouts" / "update-000001.jsonl.zst"))
    assert [
        [(one.trajectory.sibling, one.reference, one.credit) for one in group.revisions or ()] for group in groups
    ] == [[(0, 1, 0.5)]] * 3


# --- resume -------------------------------------------------------------------------------------------------------

RESUMED: list[dict[str, Any]] = [{"name": "gigpo"}, {"name": "bipace", "eps": "auto", "layer": -1}, {"name": "ibpo"}]


@pytest.mark.parametrize("estimator", RESUMED, ids=lambda estimator: estimator["name"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, estimator: dict[str, Any]) -> None:
    whole, killed, resumed = Stack(), Stack(), Stack()
    whole.train(configured(tmp_path / "whole", estimator=estimator, updates=6))
    killed.learner.dies_at = 5  # the checkpoint after update 4 is there, the work of update 5 is lost
    cut_short = configured(tmp_path / "cut", estimator=estimator, updates=6, resume="auto")
    with pytest.raises(KeyboardInterrupt):
        killed.train(cut_short)
    result = resumed.train(cut_short)

    assert resumed.learner.word == whole.learner.word
    asked = plain(resumed.policy.asked)  # tasks, seeds, prompts and the turns before them
    assert asked == plain(whole.policy.asked)[-len(asked) :]
    assert resumed.events[:2] == ["publish 4", "ask"]
    assert [number for number, _ in result.validations] == [6]
    assert lasting(tmp_path / "cut") == lasting(tmp_path / "whole")
    states = [latest(tmp_path / name) for name in ("cut", "whole")]
    assert [read_state(folder) for folder in states if folder] == [read_state(states[0] or tmp_path)] * 2


@pytest.mark.parametrize("dies_at", [2, 4])  # before the first checkpoint, and after it
def test_files_of_rollouts_that_are_played_anew_do_not_stay(tmp_path: Path, dies_at: int) -> None:
    killed, folder = Stack(), tmp_path / "rollouts"
    killed.learner.dies_at = dies_at
    with pytest.raises(KeyboardInterrupt):
        killed.train(configured(tmp_path, updates=6, record="rollouts"))
    for update in range(1, dies_at):
        (folder / f"update-{update:06d}.truth.npz").write_text("of the rollouts of then")
    (folder / "notes.txt").write_text("mine")
    Stack().train(configured(tmp_path, updates=6, record="rollouts", resume="auto"))
    start = dies_at - 2
    assert sorted(folder.glob("*.truth.npz")) == [folder / f"update-{n:06d}.truth.npz" for n in range(1, start + 1)]
    assert len(list(folder.glob("*.jsonl.zst"))) == 6
    assert (folder / "notes.txt").exists()


def test_a_killed_run_that_chooses_tasks_by_difficulty_goes_on_with_what_it_had_seen(tmp_path: Path) -> None:
    def solves_two_and_four(key: Key) -> str:
        return "go" if key[0] % 2 else "stop"

    whole, killed, resumed = (Stack(script=solves_two_and_four) for _ in range(3))
    choosing: dict[str, Any] = {"task_choice": "difficulty", "updates": 6, "groups_per_update": 2}
    whole.train(configured(tmp_path / "whole", **choosing))
    killed.learner.dies_at = 5
    cut_short = configured(tmp_path / "cut", **choosing, resume="auto")
    with pytest.raises(KeyboardInterrupt):
        killed.train(cut_short)
    newest = latest(tmp_path / "cut")
    assert newest is not None
    assert read_state(newest).seen != {}
    resumed.train(cut_short)
    asked = plain(resumed.policy.asked)
    assert asked == plain(whole.policy.asked)[-len(asked) :]
    assert lasting(tmp_path / "cut") == lasting(tmp_path / "whole")


def test_a_run_on_the_engines_logprobs_tells_no_entropy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack, learner = Stack(), defaults().learner
    stack.learner.takes_engines = True
    loss = replace(learner.loss, kl_coef=0.0, importance_cap=2.0)
    saving = replace(learner, old_logprobs="engine", loss=loss, optimizer_steps=2)
    stack.train(configured(tmp_path, learner=saving, updates=2), Display())
    assert "entropy" not in capsys.readouterr().out
    assert ["learn/entropy" in row for row in read_metrics(tmp_path) if row["update"] > 0] == [False, False]


def test_a_run_whose_last_checkpoint_is_damaged_goes_on_from_the_one_before_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, killed, resumed = Stack(), Stack(), Stack()
    whole.train(configured(tmp_path / "whole", updates=6))
    killed.learner.dies_at = 5
    cut_short = configured(tmp_path / "cut", updates=6, resume="auto")
    with pytest.raises(KeyboardInterrupt):
        killed.train(cut_short)
    newest = latest(tmp_path / "cut")
    assert newest is not None
    (newest / "learner" / "rank0.pt").write_text("")
    resumed.train(cut_short, Display())
    assert "checkpoint update-000004 is damaged: learner/rank0.pt has 0 of" in " ".join(capsys.readouterr().out.split())
    assert resumed.events[0] == "publish 2"
    assert resumed.learner.word == whole.learner.word
    assert lasting(tmp_path / "cut") == lasting(tmp_path / "whole")


def lasting(output: Path) -> list[dict[str, float]]:
    """Rows without what a clock says."""
    return [
        {name: value for name, value in row.items() if not name.startswith(CLOCKED)} for row in read_metrics(output)
    ]


LOSSES = [
    ActorDied("learner rank 0 died during learn"),
    OutOfMemory("a learner rank ran out of memory"),
    ActorTimeout("no answer of learner rank 1 to learn"),
]


@pytest.mark.parametrize("error", LOSSES, ids=["died", "out of memory", "silent"])
@pytest.mark.parametrize("at", [2, 4])  # before the first checkpoint, and after it
def test_a_run_that_loses_a_rank_goes_on_from_its_last_checkpoint_as_if_nothing_had_happened(
    tmp_path: Path, error: Exception, at: int
) -> None:
    whole, struck = Stack(), Stack()
    expected = whole.train(configured(tmp_path / "whole"))
    struck.learner.faults = {at: error}
    result = struck.train(configured(tmp_path / "struck"))
    assert [number for number, _ in result.validations] == [number for number, _ in expected.validations] == [0, 2, 4]
    assert struck.learner.word == whole.learner.word
    repeated, rows = lasting(tmp_path / "struck"), lasting(tmp_path / "whole")
    assert [row["update"] for row in repeated if row.get("learn/restarts")] == [at]
    assert [{**row, "learn/restarts": 0.0} if "learn/loss" in row else row for row in repeated] == rows


def test_an_update_that_is_lost_twice_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    stack = Stack()
    # Update 3 is lost as the third call of `learn`; after the checkpoint of update 2 it is the fourth.
    stack.learner.faults = dict.fromkeys((3, 4), ActorDied("learner rank 0 died during learn"))
    with pytest.raises(ActorDied, match=r"^learner rank 0 died during learn$"):
        stack.train(configured(tmp_path))
    assert [row["update"] for row in read_metrics(tmp_path)] == [0, 1, 2]


def test_two_updates_that_are_lost_once_each_do_not_end_the_run(tmp_path: Path) -> None:
    whole, stack = Stack(), Stack()
    whole.train(configured(tmp_path / "whole"))
    stack.learner.faults = dict.fromkeys((1, 5), ActorDied("learner rank 0 died during learn"))
    stack.train(configured(tmp_path / "struck"))
    assert stack.learner.word == whole.learner.word


def test_a_run_goes_on_with_another_number_of_ranks_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, first, second = Stack(), Stack(), Stack()
    whole.train(configured(tmp_path / "whole", updates=4))
    learner = configured(tmp_path).learner
    first.train(configured(tmp_path / "parts", updates=2, learner=replace(learner, world_size=2)))
    second.learner.written_by = 2
    second.train(configured(tmp_path / "parts", updates=4, resume="auto"), Display())
    said = " ".join(capsys.readouterr().out.split())
    assert "resumed after update 2 from update-000002, written by 2 learner ranks and converted for 1" in said
    assert second.learner.word == whole.learner.word


def test_the_row_after_a_checkpoint_tells_what_it_cost(tmp_path: Path) -> None:
    Stack().train(configured(tmp_path, updates=6))  # the checkpoint after update 4 waits for the one after 2
    told = [row for row in read_metrics(tmp_path) if "checkpoint/gib" in row]
    assert {row["update"] for row in told} <= {3, 4, 5, 6}
    assert told
    for row in told:
        assert 0 < row["checkpoint/blocked_seconds"] <= row["checkpoint/seconds"]
        assert row["checkpoint/gib"] > 0


def test_a_run_whose_checkpoint_finds_no_room_ends_with_the_reason_and_goes_on_from_the_one_before(
    tmp_path: Path,
) -> None:
    full, resumed, whole = Stack(), Stack(), Stack()

    def say(_: Key) -> str:
        if full.learner.updates == 3:
            full.learner.fault = "[Errno 28] No space left on device"
        return full.engines.say(_)

    full.policy = ScriptedPolicy(say)
    with pytest.raises(CheckpointFailed, match="No space left on device"):
        full.train(configured(tmp_path / "full", updates=6))
    assert [path.name for path in sorted((tmp_path / "full" / checkpoint.FOLDER).iterdir())] == [
        "latest",
        "update-000002",
    ]
    resumed.train(configured(tmp_path / "full", updates=6, resume="auto"))
    whole.train(configured(tmp_path / "whole", updates=6))
    assert resumed.learner.word == whole.learner.word


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path: Path) -> None:
    whole, killed, again = Stack(), Stack(), Stack()
    whole.train(configured(tmp_path / "whole"))
    killed.learner.dies_at = 2
    with pytest.raises(KeyboardInterrupt):
        killed.train(configured(tmp_path / "cut"))
    again.train(configured(tmp_path / "cut"))
    assert lasting(tmp_path / "cut") == lasting(tmp_path / "whole")


def test_a_resumed_run_says_which_harmless_settings_differ(tmp_path: Path) -> None:
    Stack().train(configured(tmp_path, updates=2))
    printed = StringIO()
    Stack().train(
        configured(tmp_path, updates=4, resume="auto", record="rollouts"), Display(Console(file=printed, width=200))
    )
    assert "· other settings than before, harmless ones: record none -> rollouts, updates 2 -> 4" in printed.getvalue()


def test_more_updates_can_be_asked_for_afterwards(tmp_path: Path) -> None:
    whole, first, second = Stack(), Stack(), Stack()
    whole.train(configured(tmp_path / "whole", updates=4))
    first.train(configured(tmp_path / "parts", updates=2))
    second.train(configured(tmp_path / "parts", updates=4, resume="auto"))
    assert second.learner.word == whole.learner.word


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "already holds a run: go on with resume=auto"),
        ({"resume": "auto"}, "has done 2: raise updates"),
        ({"resume": "auto", "updates": 4, "seed": 1}, "seed=0, this run has seed=1"),
        ({"resume": "auto", "updates": 4, "group_size": 3}, "group_size=2, this run has group_size=3"),
        ({"resume": "auto", "updates": 4, "model": None}, "model.prompt_tokens="),
    ],
)
def test_a_folder_of_another_run_is_refused_before_anything_starts(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    Stack().train(configured(tmp_path, updates=2))
    if "model" in changes:
        model = defaults().model
        changes = {**changes, "model": replace(model, prompt_tokens=model.prompt_tokens - 1)}
    refused = Stack()
    with pytest.raises(ConfigError, match=named):
        refused.train(configured(tmp_path, **{"updates": 2, **changes}))
    assert refused.events == []


# --- fork ---------------------------------------------------------------------------------------------------------


def forked(config: TrainConfig, output: Path, update: int, **changes: Any) -> ForkConfig:
    """A fork of a run that had this config."""
    settings = {name: getattr(config, name) for name in TrainConfig.__dataclass_fields__}
    return ForkConfig(**{**settings, "output": str(output), **changes}, run=config.output, update=update)


def test_a_fork_goes_on_from_the_old_checkpoint_in_a_folder_of_its_own(tmp_path: Path) -> None:
    whole, fork, other = Stack(), Stack(), Stack()
    config = configured(tmp_path / "whole", checkpoint=CheckpointConfig(every=2, keep=9))
    whole.train(config)
    before = tree(tmp_path / "whole")
    fork.train(forked(config, tmp_path / "fork", 2))
    assert fork.learner.word == whole.learner.word
    rows, all_rows = lasting(tmp_path / "fork"), lasting(tmp_path / "whole")
    assert rows == all_rows[3:]
    assert [row["update"] for row in rows] == [3, 4]
    came_from = json.loads((tmp_path / "fork" / "config.json").read_text())
    assert (came_from["run"], came_from["update"]) == (str(tmp_path / "whole"), 2)
    other.train(forked(config, tmp_path / "other", 2, seed=7, updates=5))
    assert other.learner.word != whole.learner.word
    assert [row["update"] for row in read_metrics(tmp_path / "other")] == [3, 4, 5]
    assert tree(tmp_path / "whole") == before


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("at", [3, 5])  # before the fork's first checkpoint, and after it
def test_a_fork_that_loses_a_rank_or_is_killed_goes_on_as_if_nothing_had_happened(tmp_path: Path, at: int) -> None:
    whole = Stack()
    config = configured(tmp_path / "whole", checkpoint=CheckpointConfig(every=2, keep=9), updates=6)
    whole.train(config)
    struck, killed, again = Stack(), Stack(), Stack()
    struck.learner.faults = {at - 2: ActorDied("learner rank 0 died during learn")}
    struck.train(forked(config, tmp_path / "struck", 2))
    assert struck.learner.word == whole.learner.word
    assert [row["update"] for row in read_metrics(tmp_path / "struck")] == [3, 4, 5, 6]
    killed.learner.dies_at = at - 2
    with pytest.raises(KeyboardInterrupt):
        killed.train(forked(config, tmp_path / "killed", 2))
    again.train(forked(config, tmp_path / "killed", 2, resume="auto"))
    assert again.learner.word == whole.learner.word
    assert lasting(tmp_path / "killed") == lasting(tmp_path / "whole")[3:]


def test_a_fork_whose_run_has_forgotten_the_checkpoint_meanwhile_ends_with_the_remedy(tmp_path: Path) -> None:
    config = configured(tmp_path / "whole", checkpoint=CheckpointConfig(every=2, keep=9))
    Stack().train(config)
    fork = Stack()
    fork.learner.faults = {1: ActorDied("learner rank 0 died during learn")}

    def say(key: Key) -> str:
        shutil.rmtree(tmp_path / "whole" / "checkpoints" / "update-000002", ignore_errors=True)
        return fork.engines.say(key)

    fork.policy = ScriptedPolicy(say)
    with pytest.raises(ConfigError, match=r"update-000002 is gone, and this fork, which has no .*checkpoint\.keep"):
        fork.train(forked(config, tmp_path / "fork", 2))


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
