"""The labs of a sweep in one set of tables: rows name the swept settings, and unchanged estimators stand once."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.trainer.lab.test_lab import SMALL, config, recorded, run_lab
from trainer.lab.config import TruthConfig
from trainer.lab.report.bench import detail_grids
from trainer.lab.report.numbers import Numbers, read_numbers
from trainer.lab.report.sweep import join, joined
from trainer.lab.worlds.maze import MazeConfig
from trainer.report.grid import MISSING, Grid
from trainer.report.progress import Display

ONE_SIZE = replace(SMALL, sizes=(2,))


def numbers_of(folder: Path, *estimators: Any, **options: Any) -> Numbers:
    run_lab(config(folder, *estimators, **options))
    return read_numbers(folder)


def names(grid: Grid) -> list[str]:
    """The names of the rows, each once."""
    return list(dict.fromkeys(row[0] for row in grid.rows if len(row) > 1))


def test_numbers_on_disk_are_read_as_they_were_written(tmp_path: Path) -> None:
    measured = run_lab(config(tmp_path, run=str(recorded(tmp_path / "run", 1, 2)), truth=SMALL))
    numbers = read_numbers(tmp_path)
    assert numbers.recorded == tuple(replace(update, pairs={}) for update in measured.recorded)
    assert repr(numbers.truth) == repr(measured.truth)  # NaN is not equal to itself
    assert numbers.options["generated"]["gigpo"]["gamma"] == 0.95


def test_rows_name_a_swept_setting_where_the_estimator_has_it(tmp_path: Path) -> None:
    run = str(recorded(tmp_path / "run", 1, 2))
    labs = [
        numbers_of(tmp_path / f"{eps}", "bipace", "grpo", run=run, truth=ONE_SIZE, eps=eps, gamma=0.9)
        for eps in (0.1, 0.5)
    ]
    truth, statistics, *_ = joined(labs)
    assert names(truth) == names(statistics) == ["bipace eps=0.1", "bipace eps=0.5", "grpo"]
    by_name = {comparison.estimator: comparison for comparison in labs[1].truth}
    assert truth.rows[1][1].startswith(f"{by_name['bipace'].error.value:.2f}")
    assert statistics.note.startswith("updates 1 to 2 (2): 16 rows")


def test_a_swept_layer_is_named_only_where_hidden_states_are_read(tmp_path: Path) -> None:
    numbers = numbers_of(tmp_path / "lab", "gigpo", "bipace", run=str(recorded(tmp_path / "run", 1)))
    labs = [replace(numbers, config=dict(numbers.config) | {"layer": layer}) for layer in (-1, -2)]
    assert names(next(joined(labs))) == ["gigpo", "bipace layer=-1", "bipace layer=-2"]


def test_group_sizes_join_and_different_worlds_stay_apart(tmp_path: Path) -> None:
    sizes = [numbers_of(tmp_path / f"{size}", "grpo", truth=replace(SMALL, sizes=(size,))) for size in (4, 2)]
    (grid,) = joined(sizes)
    assert (grid.heads, names(grid)) == (("groups of", "2", "4"), ["grpo"])
    assert "–" not in {cell for row in grid.rows for cell in row}
    worlds = [(MazeConfig(name="maze", width=3, tasks=2, pits=pits, horizon=5),) for pits in (1, 2)]
    labs = [
        numbers_of(tmp_path / f"{job}", "grpo", truth=TruthConfig(sizes=(2,), rollouts=200, mazes=mazes))
        for job, mazes in enumerate(worlds)
    ]
    (grid,) = joined(labs)
    assert names(grid) == ["grpo truth.mazes#0", "grpo truth.mazes#1"]


def test_worlds_join_and_an_estimator_that_was_not_measured_in_one_has_no_number_there(tmp_path: Path) -> None:
    jobs: list[tuple[str, tuple[str, ...]]] = [("delay", ("grpo",)), ("recov", ("grpo", "gigpo"))]
    labs = [
        numbers_of(
            tmp_path / world,
            *estimators,
            truth=TruthConfig(sizes=(2,), rollouts=40, layouts=2, worlds=(world,), mazes=()),
        )
        for world, estimators in jobs
    ]
    grid, *_ = joined(labs)
    assert (grid.heads, names(grid)) == (("", "delay", "recov", "mean"), ["grpo", "gigpo"])
    assert {row[1] for row in grid.rows if row[0] == "gigpo"} == {MISSING}
    assert any(row[1] != MISSING for row in grid.rows if row[0] == "grpo")
    details = detail_grids([*labs[0].truth, *labs[1].truth])
    assert {row[1] for detail in details for row in detail.rows if row[0] == "gigpo"} == {MISSING}


def test_rows_with_a_scorer_stand_after_their_estimator_with_its_swept_setting(tmp_path: Path) -> None:
    jobs: list[dict[str, Any]] = [
        {"scorers": ("milestones",), "gamma": 0.9},
        {"scorers": ("milestones", {"name": "plan", "weight": 2.0}), "gamma": 0.5},
        {"scorers": ({"name": "plan", "weight": 2.0},), "gamma": 0.9},
    ]
    labs = [numbers_of(tmp_path / f"{job}", "grpo", "gigpo", truth=ONE_SIZE, **own) for job, own in enumerate(jobs)]
    (grid,) = joined(labs)
    by = [" + milestones", " + plan weight=2.0"]
    labels = ("grpo", "gigpo gamma=0.9", "gigpo gamma=0.5")
    assert names(grid) == [f"{label}{scorer}" for label in labels for scorer in ("", *by)]


def test_every_run_and_every_choice_of_updates_has_its_own_tables(tmp_path: Path) -> None:
    runs = [str(recorded(tmp_path / name, 1, 2)) for name in ("a", "b")]
    labs = [numbers_of(tmp_path / f"lab {run[-1]}", "grpo", run=run) for run in runs]
    labs.append(numbers_of(tmp_path / "third", "grpo", run=runs[0], updates=(1,)))
    grids = [grid for grid in joined(labs) if grid.title.startswith("Credit")]
    assert [grid.title.partition(": ")[2] for grid in grids] == [*runs, runs[0]]
    assert [grid.note[:12] for grid in grids] == ["updates 1 to", "updates 1 to", "updates 1: 8"]


@pytest.mark.parametrize("jobs", [1, 11])
def test_a_sweeps_tables_follow_the_order_of_its_jobs(tmp_path: Path, jobs: int) -> None:
    for job in range(jobs):
        numbers_of(tmp_path / f"{job}_seed-{job}", "grpo", truth=ONE_SIZE, seed=job)
    console = Console(file=StringIO(), width=100)
    join(tmp_path, Display(console))
    assert (tmp_path / "sweep.md").is_file() == (jobs > 1)  # a single lab has its tables already
    if jobs > 1:
        tables = (tmp_path / "sweep.md").read_text()
        rows = [line.split("`")[1] for line in tables.splitlines() if line.startswith("| `")]
        assert rows[:jobs] == [f"grpo seed={job}" for job in range(jobs)]
        assert "sweep.md" in console.file.getvalue().replace("\n", "")  # pyright: ignore[reportAttributeAccessIssue]
