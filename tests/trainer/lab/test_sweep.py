"""A sweep's labs in one: settings that were swept tell estimators apart, and what they do not change stands once."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.trainer.lab.test_lab import SMALL, config, recorded
from trainer.lab.config import TruthConfig
from trainer.lab.plan import plan_lab
from trainer.lab.report.numbers import Numbers, read_numbers
from trainer.lab.report.sweep import join, joined
from trainer.lab.report.tables import Grid
from trainer.lab.run import lab
from trainer.lab.worlds.maze import MazeConfig
from trainer.report.progress import Display

ONE_SIZE = replace(SMALL, sizes=(2,))


def left(folder: Path, *estimators: Any, **options: Any) -> Numbers:
    lab(plan_lab(config(folder, *estimators, **options)), Display(Console(file=StringIO())))
    return read_numbers(folder)


def names(grid: Grid) -> list[str]:
    """Of its first part."""
    return list(dict.fromkeys(row[0] for row in grid.rows if len(row) > 1))


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    told = config(tmp_path, run=str(recorded(tmp_path / "run", 1, 2)), truth=SMALL)
    updates, truth = lab(plan_lab(told), Display(Console(file=StringIO())))
    numbers = read_numbers(tmp_path)
    assert numbers.recorded == tuple(replace(one, pairs={}) for one in updates)
    assert repr(numbers.truth) == repr(tuple(truth))  # NaN is no equal of itself
    assert numbers.options["generated"]["gigpo"]["gamma"] == 0.95


def test_a_swept_setting_tells_the_estimators_that_have_it_apart(tmp_path: Path) -> None:
    run = str(recorded(tmp_path / "run", 1, 2))
    labs = [
        left(tmp_path / f"{eps}", "bipace", "grpo", run=run, truth=ONE_SIZE, eps=eps, gamma=0.9) for eps in (0.1, 0.5)
    ]
    truth, shapes, *_ = joined(labs)
    assert names(truth) == names(shapes) == ["bipace eps=0.1", "bipace eps=0.5", "grpo"]
    alone = {one.estimator: one for one in labs[1].truth}
    assert truth.rows[2][1].startswith(f"{alone['bipace'].error.value:.2f}")
    assert shapes.note.startswith("updates 1 to 2 (2): 16 rows")


def test_other_layers_are_of_those_alone_that_read_hidden_states(tmp_path: Path) -> None:
    numbers = left(tmp_path / "lab", "gigpo", "bipace", run=str(recorded(tmp_path / "run", 1)))
    labs = [replace(numbers, config=dict(numbers.config) | {"layer": layer}) for layer in (-1, -2)]
    assert names(next(joined(labs))) == ["gigpo", "bipace layer=-1", "bipace layer=-2"]


def test_group_sizes_join_and_other_worlds_keep_apart(tmp_path: Path) -> None:
    sizes = [left(tmp_path / f"{size}", "grpo", truth=replace(SMALL, sizes=(size,))) for size in (4, 2)]
    (grid,) = joined(sizes)
    assert (grid.heads, names(grid)) == (("groups of", "2", "4"), ["grpo"])
    assert "–" not in {cell for row in grid.rows for cell in row}
    worlds = [(MazeConfig(name="maze", width=3, tasks=2, pits=pits, horizon=5),) for pits in (1, 2)]
    labs = [
        left(tmp_path / f"{at}", "grpo", truth=TruthConfig(sizes=(2,), rollouts=200, mazes=mazes))
        for at, mazes in enumerate(worlds)
    ]
    (grid,) = joined(labs)
    assert names(grid) == ["grpo truth.mazes#0", "grpo truth.mazes#1"]


def test_every_run_and_every_choice_of_updates_has_tables_of_its_own(tmp_path: Path) -> None:
    runs = [str(recorded(tmp_path / name, 1, 2)) for name in ("a", "b")]
    labs = [left(tmp_path / f"lab {run[-1]}", "grpo", run=run) for run in runs]
    labs.append(left(tmp_path / "third", "grpo", run=runs[0], updates=(1,)))
    found = [grid for grid in joined(labs) if grid.title.startswith("Credit")]
    assert [grid.title.partition(": ")[2] for grid in found] == [*runs, runs[0]]
    assert [grid.note[:12] for grid in found] == ["updates 1 to", "updates 1 to", "updates 1: 8"]


@pytest.mark.parametrize("jobs", [1, 11])
def test_a_sweeps_folder_gets_its_tables_in_the_order_of_its_jobs(tmp_path: Path, jobs: int) -> None:
    for job in range(jobs):
        left(tmp_path / f"{job},seed={job}", "grpo", truth=ONE_SIZE, seed=job)
    console = Console(file=StringIO(), width=100)
    join(tmp_path, Display(console))
    assert (tmp_path / "sweep.md").is_file() == (jobs > 1)  # one lab has its tables already
    if jobs > 1:
        tables = (tmp_path / "sweep.md").read_text()
        rows = [line.split("`")[1] for line in tables.splitlines() if line.startswith("| `")]
        assert rows[:jobs] == [f"grpo seed={job}" for job in range(jobs)]
        assert "sweep.md" in console.file.getvalue().replace("\n", "")  # pyright: ignore[reportAttributeAccessIssue]
