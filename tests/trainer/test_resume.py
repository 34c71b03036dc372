"""A run that was killed, or that lost a part, goes on as if nothing had happened: on fakes."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from rich.console import Console

from rollout.policy import Key
from rollout.ray_actors import ActorDied, ActorTimeout
from tests.fakes import ScriptedPolicy, plain
from tests.trainer.run_stack import Stack, WordEngines, configured, defaults, lasting
from trainer import checkpoint
from trainer.checkpoint import latest, read_state
from trainer.config.build import ConfigError
from trainer.learner.driver import OutOfMemory
from trainer.report.metric_rows import read_metrics
from trainer.report.progress import Display
from trainer.saver import CheckpointFailed

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


@pytest.mark.parametrize("file", ["learner/rank0.pt", checkpoint.STATE])
def test_a_run_whose_last_checkpoint_is_damaged_goes_on_from_the_one_before_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    whole, killed, resumed = Stack(), Stack(), Stack()
    whole.train(configured(tmp_path / "whole", updates=6))
    killed.learner.dies_at = 5
    cut_short = configured(tmp_path / "cut", updates=6, resume="auto")
    with pytest.raises(KeyboardInterrupt):
        killed.train(cut_short)
    newest = latest(tmp_path / "cut")
    assert newest is not None
    (newest / file).write_text("")
    resumed.train(cut_short, Display())
    assert f"checkpoint update-000004 is damaged: {file} has 0 of" in " ".join(capsys.readouterr().out.split())
    assert resumed.events[0] == "publish 2"
    assert resumed.learner.word == whole.learner.word
    assert lasting(tmp_path / "cut") == lasting(tmp_path / "whole")


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


def test_a_run_that_loses_a_rank_as_it_publishes_its_first_weights_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, struck = Stack(), Stack()
    whole.train(configured(tmp_path / "whole"))
    deaths, publish = [ActorDied("learner rank 0 died during pack")], WordEngines.publish

    def dying(engines: WordEngines, *arguments: Any) -> None:
        if deaths:
            raise deaths.pop()
        publish(engines, *arguments)

    monkeypatch.setattr(WordEngines, "publish", dying)
    struck.train(configured(tmp_path / "struck"))
    assert struck.learner.word == whole.learner.word


def test_a_run_that_loses_a_rank_when_its_last_checkpoint_is_written_has_finished(tmp_path: Path) -> None:
    config, stack = configured(tmp_path), Stack()
    begin_save, begun = stack.learner.begin_save, []

    def begins(folder: Path, *, export: bool) -> int:
        begun.append(folder)
        return begin_save(folder, export=export)

    def dies(*, wait: bool) -> None:
        if wait and len(begun) == 2:  # the first may still be waited for when update 4 is taught
            while checkpoint.named(tmp_path) != tmp_path / checkpoint.FOLDER / "update-000004":
                sleep(0.01)
            raise ActorDied("learner rank 0 died during save_fault")

    stack.learner.begin_save, stack.learner.save_fault = begins, dies
    result = stack.train(config)
    assert result.model == checkpoint.export_of(tmp_path, 4)
    assert [number for number, _ in result.validations] == [0, 2, 4]
    assert stack.learner.updates == 4


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
