"""A run is gone on with where its settings agree, and refused by the setting that differs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.commands.conftest import Stepcredit, past_run, refused

pytestmark = pytest.mark.usefixtures("no_ray")


def checkpoint_of(stepcredit: Stepcredit, output: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A checkpoint as `stepcredit train` leaves it, its settings changed."""
    past_run(stepcredit, output)
    file = output / "checkpoints" / "update-000025" / "state.json"
    state = json.loads(file.read_text())
    change(state["settings"])
    file.write_text(json.dumps(state))


def test_a_run_that_goes_on_must_be_named(stepcredit: Stepcredit) -> None:
    line = refused(stepcredit, "train", "resume=auto")
    assert "resume='auto' without output, and a new folder has nothing to go on with: add output=FOLDER" in line


def test_a_run_is_gone_on_with_where_the_settings_agree(stepcredit: Stepcredit, tmp_path: Path) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: None)
    assert stepcredit("train", f"output={tmp_path}/run", "resume=auto", "updates=30").code == 0
    assert len(stepcredit.runs) == 1


def test_a_checkpoint_of_before_a_setting_existed_and_with_another_cache_is_gone_on_with(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    def age(settings: dict[str, Any]) -> None:
        del settings["rollout"]["truncated"]
        settings["model"]["cache"] = ".cache/models"

    checkpoint_of(stepcredit, tmp_path / "run", age)
    assert stepcredit("train", f"output={tmp_path}/run", "resume=auto", "updates=30").code == 0


def test_a_checkpoint_of_another_model_is_refused_with_both_models(stepcredit: Stepcredit, tmp_path: Path) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: settings["model"].update(source="smollm2_135m"))
    line = refused(stepcredit, "train", f"output={tmp_path}/run", "resume=auto")
    assert "model.source='smollm2_135m', this run has model.source='tiny': set it back" in line


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("resume=never",), "already holds a run: go on with resume=auto"),
        (("resume=auto", "updates=25"), "raise updates to go on"),
    ],
)
def test_a_run_that_is_there_is_not_written_over(
    stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...], part: str
) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: None)
    assert part in refused(stepcredit, "train", f"output={tmp_path}/run", *words)


def test_a_broken_checkpoint_is_refused_with_the_file(stepcredit: Stepcredit, tmp_path: Path) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: None)
    (tmp_path / "run/checkpoints/update-000025/state.json").write_text('{"update": 25')
    line = refused(stepcredit, "train", f"output={tmp_path}/run", "resume=auto")
    assert "state.json is broken" in line
    assert "resume from another checkpoint" in line


def test_harmless_settings_may_differ_and_are_told(stepcredit: Stepcredit, tmp_path: Path) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: None)
    harmless = ("checkpoint.every=3", "log.wandb=disabled", "learner.token_budget=512", "rollout.env_timeout_s=9")
    assert stepcredit("train", f"output={tmp_path}/run", "resume=auto", *harmless).code == 0
    (plan,) = stepcredit.plans
    assert plan.changed == (
        "checkpoint.every 5 -> 3, learner.token_budget 16384 -> 512, log.wandb auto -> disabled, "
        "rollout.env_timeout_s 60.0 -> 9.0"
    )


def test_the_fork_that_is_proposed_for_another_estimator_is_one_that_the_command_takes(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: None)
    words = ("estimator=grpo", "estimator.norm=mean", "seed=4")
    line = refused(stepcredit, "train", f"output={tmp_path}/run", "resume=auto", *words)
    proposed = line.partition("stepcredit fork ")[2].split()
    assert stepcredit("fork", *proposed, f"output={tmp_path}/fork").code == 0
    config = stepcredit.plans[-1].config
    assert (config.estimator["name"], config.estimator["norm"], config.seed) == ("grpo", "mean", 4)


def test_settings_that_change_what_is_learned_are_told_all_at_once_with_the_fork_that_may_have_them(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: None)
    words = ("learner.learning_rate=0.5", "seed=4", "checkpoint.every=3")
    line = refused(stepcredit, "train", f"output={tmp_path}/run", "resume=auto", *words)
    assert ", seed=0, this run has learner.learning_rate=0.5, seed=4: set them back" in line
    fork = f"stepcredit fork {tmp_path}/run update=25 learner.learning_rate=0.5 seed=4"
    assert line.endswith(f"set them back, or start a run of its own from there: {fork}")


def test_settings_that_a_checkpoint_is_bound_to_are_told_without_a_fork(stepcredit: Stepcredit, tmp_path: Path) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: None)
    line = refused(stepcredit, "train", f"output={tmp_path}/run", "resume=auto", "learner.zero_stage=2", "seed=4")
    assert (
        "learner.zero_stage=1, seed=0, this run has learner.zero_stage=2, seed=4: set them back, or start anew" in line
    )


def test_a_config_that_was_cut_short_is_refused_with_the_file(stepcredit: Stepcredit, tmp_path: Path) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: None)
    (tmp_path / "run" / "config.json").write_text('{"updates": 3')
    line = refused(stepcredit, "train", f"output={tmp_path}/run", "resume=auto")
    assert f"{tmp_path}/run/config.json is broken" in line
    assert "bring a whole one back, or remove it" in line
