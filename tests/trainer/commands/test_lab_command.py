"""The lab's command line: its run, its sweeps, and recordings that do not serve."""

from pathlib import Path

import numpy as np
import pytest

from rollout.record import write_groups
from tests.fakes import group, step
from tests.trainer.commands.conftest import Stepcredit, refused

pytestmark = pytest.mark.usefixtures("no_ray")


def recorded_run(folder: Path, *, embeddings: bool = True) -> Path:
    """Update 3 of a run, one group of two rollouts, with or without their hidden states."""
    played = group((step("go"), step("stop", state="1", reward=10.0)), (step("stop"),), won=[True])
    write_groups(folder / "rollouts" / "update-000003.jsonl.zst", [played])
    if embeddings:
        np.save(folder / "rollouts" / "update-000003.embeddings.npy", np.eye(3, dtype=np.float32))
    return folder


@pytest.mark.parametrize("name", ["run", "seed=1,it's"])
def test_the_first_word_of_a_lab_is_its_run(stepcredit: Stepcredit, tmp_path: Path, name: str) -> None:
    run = recorded_run(tmp_path / name)
    assert stepcredit("lab", str(run), "truth=null", "estimators=[grpo,bipace]").code == 0
    ((_, config),) = stepcredit.runs
    assert (config.run, config.estimators, config.truth) == (str(run), ("grpo", "bipace"), None)


def test_a_sweep_of_a_lab_runs_once_for_each_value(stepcredit: Stepcredit, tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run")
    assert stepcredit("lab", str(run), "--multirun", "truth=null", "eps=0.05,0.1", "gamma=0.9,1").code == 0
    *labs, joined = stepcredit.runs
    configs = [config for _, config in labs]
    assert [(config.eps, config.gamma) for config in configs] == [(0.05, 0.9), (0.05, 1), (0.1, 0.9), (0.1, 1)]
    (folder,) = {Path(config.output).parent for config in configs}  # the run's path makes no folders of its own
    assert joined == ("trainer.lab.report.sweep:join", folder)


def test_a_sweep_over_runs_keeps_their_outputs_apart(stepcredit: Stepcredit, tmp_path: Path) -> None:
    runs = [recorded_run(tmp_path / name) for name in ("a", "b")]
    assert stepcredit("lab", "--multirun", f"run={runs[0]},{runs[1]}", "truth=null").code == 0
    assert len({config.output for _, config in stepcredit.runs[:-1]}) == 2


def test_a_sweep_of_labs_has_names_that_a_disk_takes_however_many_settings_it_has(stepcredit: Stepcredit) -> None:
    estimators = ",".join(f"{{name:gigpo,gamma:0.{number}}}" for number in range(10, 40))
    assert stepcredit("lab", "--multirun", f"estimators=[{estimators}],[grpo]", "seed=1").code == 0
    names = [Path(config.output).name for _, config in stepcredit.runs[:-1]]
    assert len(set(names)) == 2
    assert [name for name in names if len(name) > 120] == []


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("updates=[4]",), ("4 is not recorded", "3 to 3")),
        (("layer=-2",), ("has no export", "weights=FOLDER")),
        (("layer=-2", "weights=."), ("no config.json",)),
        (("layer=-2", "estimators=[grpo]"), ("layer=-2", "reads hidden states")),
        (("estimators=[grpo,bipace]",), ("'bipace'", "record=embeddings", "leave it out")),
    ],
)
def test_a_lab_is_refused_what_its_run_did_not_keep(
    stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    run = recorded_run(tmp_path / "run", embeddings=False)
    line = refused(stepcredit, "lab", str(run), "truth=null", *words)
    assert [part for part in parts if part not in line] == []


def test_a_lab_of_a_run_with_a_broken_config_names_the_file(stepcredit: Stepcredit, tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run")
    (run / "config.json").write_text("{")
    assert "config.json is broken" in refused(stepcredit, "lab", str(run))


def test_lab_learn_is_a_command_of_its_own(stepcredit: Stepcredit) -> None:
    assert stepcredit("lab", "learn", "worlds=[delay,mend]", "estimators=[grpo]", "sizes=[4,8]").code == 0
    ((_, config),) = stepcredit.runs
    assert (config.names, config.estimators, config.sizes) == (("delay", "mend"), ("grpo",), (4, 8))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("sizes=[4,5]",), ("sizes=[4, 5]", "divide rollouts=32")),
        (("rates=[]",), ("rates=[]", "one or more")),
        (("worlds=[maize]",), ("'maize'", "did you mean 'maze'?")),
        (("estimators=[ibpo]",), ("'ibpo'", "generated worlds have not", "leave it out")),
    ],
)
def test_a_way_to_learn_that_cannot_be_is_refused(
    stepcredit: Stepcredit, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    line = refused(stepcredit, "lab", "learn", *words)
    assert [part for part in parts if part not in line] == []
