"""Sweeps as users know them from Hydra: each cell a run in a folder of its own; what is killed goes on."""

import json
import re
from pathlib import Path

import pytest

from tests.trainer.commands.conftest import Noted, NotingSite, Stepcredit, refused
from trainer.cells.cell import Cell, State
from trainer.cells.launcher import Launcher
from trainer.commands import sweep
from trainer.commands.sweep import FILE

SEEDS = ("train", "--multirun", "seed=1,2", "estimator=grpo")


def folder_of_sweep() -> Path:
    (folder,) = Path("outputs/sweeps").iterdir()
    return folder.absolute()


def seeds(stepcredit: Stepcredit) -> list[int]:
    """The seeds of what ran, since they were last asked for."""
    ran = [config.seed for _, config in stepcredit.runs]
    stepcredit.runs.clear()
    return ran


def test_a_sweep_of_many_settings_has_names_that_a_disk_takes(stepcredit: Stepcredit) -> None:
    many = ["learner.learning_rate=1e-5", "learner.warmup_steps=1", "updates=3", "groups_per_update=2", "group_size=4"]
    many += [f"validation.{words}" for words in ("every=5", "tasks=64", "temperature=0.4")]
    many += [f"checkpoint.{words}" for words in ("every=5", "export_every=25", "keep=2")]
    many += [f"cluster.{words}" for words in ("threads=2", "env_workers=2", "start_timeout_s=900")]
    many += ["env.options.distractors=3", "deterministic=false"]
    assert len(many) >= 16
    assert stepcredit("train", "--multirun", "seed=1,2", *many).code == 0
    assert [Path(config.output).parent.name for _, config in stepcredit.runs] == ["cells", "cells"]
    assert [len(Path(config.output).name) for _, config in stepcredit.runs] == [10, 10]


def test_a_refused_and_a_failed_cell_are_told_at_the_end(stepcredit: Stepcredit) -> None:
    stepcredit.site.states = {"seed=1": State.REFUSED, "seed=2": State.FAILED}
    ended = stepcredit.call("train", "--multirun", "seed=1,2,3")
    assert ended.code == 1
    assert re.search(r"0 +\w{10} +seed=1 +refused *\n +it did not like it *\n1 +\w{10} +seed=2 +failed", ended.out)
    folder = folder_of_sweep()
    assert ended.line == (
        f"stepcredit: of 3 cells 1 finished, 1 refused, 1 failed (see {folder}/cells.md): those are tried again by "
        f"stepcredit train sweep.resume={folder}"
    )
    rows = json.loads((folder / "cells.json").read_text())
    assert [(row["title"], row["state"]) for row in rows] == [
        ("seed=1", "refused"),
        ("seed=2", "failed"),
        ("seed=3", "finished"),
    ]


def test_a_job_asks_for_the_cores_and_the_memory_of_its_own_settings(stepcredit: Stepcredit) -> None:
    sweep = ("train", "--multirun", "seed=1", "model=qwen2.5_7b", "cluster=gpu4")
    for words in ((), ("hydra/launcher=submitit",), ("hydra/launcher=submitit", "cluster.engines=many")):
        stepcredit.call(*sweep, *words)
    local, job, broken = ((cell.gpus, cell.job_cpus, cell.job_bytes) for cell in stepcredit.site.cells)
    assert local == broken == (4, 0, 0)
    # 4 engines and 4 ranks take turns on 4 threads each; 8 env workers; 2 for the command and Ray.
    assert job[:2] == (4, 4 * 4 + 8 + 2)
    # What the plan tells; the object store; 4 GiB for each of 8 processes, 1 for each of 9 small ones.
    assert job[2] == pytest.approx((213 + 8 + 8 * 4 + 9) * 2**30, rel=0.005)


def test_a_sweep_of_which_all_is_refused_is_refused(stepcredit: Stepcredit) -> None:
    stepcredit.site.states = {"seed=1": State.REFUSED, "seed=2": State.REFUSED}
    assert stepcredit.call(*SEEDS).code == 2


def test_a_sweep_goes_on_and_repeats_no_finished_cell(stepcredit: Stepcredit) -> None:
    stepcredit.site.states = {"seed=2": State.FAILED}
    stepcredit(*SEEDS)
    assert seeds(stepcredit) == [1, 2]
    folder = folder_of_sweep()
    assert stepcredit("train", f"sweep.resume={folder}", "hydra.launcher.parallel=2").code == 1
    assert seeds(stepcredit) == [2]
    stepcredit.site.states = {}
    assert stepcredit(*SEEDS, f"sweep.resume={folder.relative_to(Path.cwd())}").code == 0
    assert seeds(stepcredit) == [2]
    assert stepcredit("train", f"sweep.resume={folder}").code == 0
    assert seeds(stepcredit) == []
    assert folder_of_sweep() == folder


def test_a_folder_of_a_sweeps_own_choice_holds_one_sweep(stepcredit: Stepcredit) -> None:
    assert stepcredit(*SEEDS, "hydra.sweep.dir=mine").code == 0
    stepcredit.runs.clear()
    assert f"{Path.cwd()}/mine already holds a sweep: go on with sweep.resume={Path.cwd()}/mine, or choose" in refused(
        stepcredit, *SEEDS, "hydra.sweep.dir=mine"
    )
    assert stepcredit("train", "sweep.resume=mine").code == 0


def test_a_sweep_does_not_go_on_as_another(stepcredit: Stepcredit) -> None:
    stepcredit(*SEEDS)
    stepcredit.runs.clear()
    folder = folder_of_sweep()
    line = refused(stepcredit, *SEEDS[:-1], "estimator=gigpo", f"sweep.resume={folder}")
    assert f"sweep.resume={folder} is another sweep (estimator=gigpo is new, estimator=grpo is gone): leave" in line
    line = refused(stepcredit, "evaluate", f"sweep.resume={folder}")
    assert f"sweep.resume={folder} is a sweep of stepcredit train, not of evaluate: name that command" in line
    assert "outputs holds no sweep (it has no sweep.json)" in refused(stepcredit, "train", "sweep.resume=outputs")
    line = refused(stepcredit, "train", f"sweep.resume={folder}/cells.json")
    assert f"{folder}/cells.json is a file: name the folder of the sweep, such as {folder}" in line
    (folder / FILE).write_text("{")
    assert f"{FILE} is broken" in refused(stepcredit, "train", f"sweep.resume={folder}")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("output=mine",), ("output=... with --multirun", "hydra.sweep.dir=DIR")),
        (("resume=auto",), ("resume=... with --multirun", "sweep.resume=DIR")),
        (("hydra/launcher=slurm",), ("no hydra/launcher=slurm", "local")),
        (("hydra/sweeper=optna",), ("no hydra/sweeper=optna",)),
        (("hydra.launcher.parallel=0",), ("hydra.launcher.parallel=0", "1 or more")),
        (("hydra.launcher.paralel=2",), ("hydra.launcher.paralel",)),
        (("estimator=grpo,gigpoo",), ("no estimator=gigpoo", "did you mean 'gigpo'?")),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_any_cell_starts(
    stepcredit: Stepcredit, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    line = refused(stepcredit, "train", "--multirun", "seed=1,2", *words)
    assert [part for part in parts if part not in line] == []
    assert stepcredit.site.cells == []


def test_a_cell_takes_what_its_cluster_settings_say(stepcredit: Stepcredit) -> None:
    words = ("cluster=cpu,gpu2", "~world_model")
    stepcredit.call("train", "--multirun", *words)
    assert [(cell.cpus, cell.gpus) for cell in stepcredit.site.cells] == [(None, 0), (0, 2)]
    stepcredit.site.cells.clear()
    stepcredit.call("train", "--multirun", "cluster.cpus=2", "seed=1,2", "--config-dir", str(Path.cwd()))
    assert [(cell.cpus, cell.gpus) for cell in stepcredit.site.cells] == [(2, 0), (2, 0)]
    assert {cell.words[0] for cell in stepcredit.site.cells} == {f"--config-dir={Path.cwd()}"}
    assert {cell.title for cell in stepcredit.site.cells} == {"seed=1", "seed=2"}


SEARCH = ("train", "--multirun", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "seed=7")


class Measured(NotingSite):
    """Its cells have logged a validation."""

    def start(self, cell: Cell) -> Noted:
        noted = super().start(cell)
        (cell.folder / "metrics.jsonl").write_text('{"update": 1, "validation/success": 0.5}\n')
        return noted


def test_settings_are_searched(stepcredit: Stepcredit) -> None:
    stepcredit.site = Measured()
    rate = "learner.learning_rate=tag(log,interval(1e-6,1e-4))"
    assert stepcredit(*SEARCH, rate, "estimator=grpo,gigpo").code == 0
    configs = [config for _, config in stepcredit.runs]
    assert [config.seed for config in configs] == [7, 7, 7]
    assert {1e-6 <= config.learner.learning_rate <= 1e-4 for config in configs} == {True}
    assert len({config.learner.learning_rate for config in configs}) == 3
    before = json.loads((folder_of_sweep() / "cells.json").read_text())
    ended = stepcredit("train", f"sweep.resume={folder_of_sweep()}", "hydra.sweeper.n_trials=4")
    assert (ended.code, len(stepcredit.runs)) == (0, 4)
    rows = json.loads((folder_of_sweep() / "cells.json").read_text())
    numbered = [(str(row["number"]), row["digest"]) for row in rows]
    assert re.findall(r"^(\d) +(\w{10}) ", ended.out, re.MULTILINE) == numbered  # all cells, as in cells.md
    assert (rows[:3], len(before), len(rows)) == (before, 3, 4)
    report = stepcredit.call("sweep-report", str(folder_of_sweep()))
    assert (report.code, len(stepcredit.plans[-1].ranking.rows)) == (0, 4)


@pytest.mark.parametrize(
    ("words", "at_once"),
    [(("hydra/launcher=ray",), 5), (("hydra/launcher=ray", "hydra.launcher.parallel=2"), 2), ((), 1)],
)
def test_a_search_on_a_cluster_learns_from_cells_before_it_proposes_all(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], at_once: int
) -> None:
    launched = list[Launcher]()
    monkeypatch.setattr(sweep, "run_cells", lambda _, *, launcher, **__: launched.append(launcher) or ())
    stepcredit.call(*SEARCH, *words, "group_size=4,8")
    assert [launcher.parallel for launcher in launched] == [at_once]


def test_a_search_with_a_failed_cell_does_not_say_that_it_is_tried_again(stepcredit: Stepcredit) -> None:
    stepcredit.site = Measured()
    stepcredit.site.states = {"group_size=8": State.FAILED}
    ended = stepcredit.call(*SEARCH, "group_size=8,16,32")
    assert "1 failed (see" in ended.line
    assert f"what was cut off is tried again by stepcredit train sweep.resume={folder_of_sweep()}" in ended.line


def test_a_search_whose_cells_lack_its_metric_ends_with_a_line_and_a_code(stepcredit: Stepcredit) -> None:
    ended = stepcredit.call(*SEARCH, "group_size=4,8,16,32")
    assert ended.code == 1
    assert "none of 3 finished cells has validation/success in metrics.jsonl, and the search learns" in ended.line
    assert "hydra.sweeper.metric=NAME" in ended.line


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("updates=3",), ("nothing to search", "group_size=4,8")),
        (("estimator=grpo,gigpoo",), ("no estimator=gigpoo", "did you mean 'gigpo'?")),
        (("learner.learning_rate=interval(1e-4,1e-6)",), ("interval(1e-4,1e-6)", "a lower end below the upper one")),
        (("group_size=4,8", "hydra.sweeper.n_trials=0"), ("hydra.sweeper.n_trials=0", "1 or more")),
        (("group_size=4,8", "output=mine"), ("output=... with --multirun",)),
        (
            ("group_size=4,8", "hydra.sweeper.metric=validation/succes"),
            ("hydra.sweeper.metric='validation/succes'", "did you mean 'validation/success'?"),
        ),
        (("group_size=4,8", "validation.every=null"), ("validation.every=null", "hydra.sweeper.metric=validation/suc")),
        (("group_size=4,8", "hydra/launcher=basic"), ("needs cells", "hydra/launcher=local")),
    ],
)
def test_a_search_that_cannot_be_is_refused(
    stepcredit: Stepcredit, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    line = refused(stepcredit, *SEARCH, *words)
    assert [part for part in parts if part not in line] == []
