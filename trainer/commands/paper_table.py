"""A table of the papers: its cells are run one after another, and its report is written after each."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.text import Text

from trainer.cells.cell import Cell, Outcome, State, outcome_of
from trainer.cells.index import Index, terminal
from trainer.cells.launch import check_distinct, exit_code, opened, run_cells
from trainer.cells.site import Site
from trainer.commands.composed import composed_config
from trainer.config.build import ConfigError
from trainer.report.progress import Display
from trainer.report.terminal import TerminalTable
from trainer.setup.past_run import commit_here
from trainer.tables.adopted import adopted
from trainer.tables.begun import begin, check_begun
from trainer.tables.config import TableConfig
from trainer.tables.dry import dry_run
from trainer.tables.grids import grids
from trainer.tables.numbers import TableNumbers, table_numbers
from trainer.tables.planned import PlannedRow, planned_rows
from trainer.tables.report import write_report
from trainer.tables.runs import Run, finished_run

Runs = Mapping[str, Mapping[int, Run]]
"""Row -> seed -> finished run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan:
    """A table whose cells are known."""

    config: TableConfig
    """What was asked for."""
    rows: tuple[PlannedRow, ...]
    """Its rows with their cells."""

    @property
    def starts(self) -> tuple[Cell, ...]:
        """The warm starts that cells of runnable rows begin from, each once."""
        every = (start for row in self.rows if not row.missing for start in row.starts.values())
        return tuple({start.digest: start for start in every}.values())

    def cells(self) -> Iterator[tuple[PlannedRow, int, Cell]]:
        """Row, seed and cell, whole seeds first, so that a half-finished table compares its rows."""
        for seed in self.config.chosen_seeds:
            for row in self.rows:
                yield row, seed, row.cells[seed]


def plan_table(config: TableConfig) -> TablePlan:
    """Plan every cell of a table, and find what is missing here.

    Raises ConfigError for a folder with other cells, for tasks that changed since it was begun, and for rows that `set`
    makes equal.
    """
    if config.runs is not None and not Path(config.runs).is_dir():
        raise ConfigError(f"runs={config.runs} is no folder: name one with finished runs in it")
    rows = planned_rows(config, composed_config)
    if config.set and len({row.missing for row in rows}) == 1 and all(row.config is None for row in rows):
        raise ConfigError(f"no row takes +set.{' +set.'.join(config.own_words)}: {'; '.join(rows[0].missing)}")
    if config.runs is None:
        check_begun(Path(config.output), config.name, rows)
        check_distinct(cell for row in rows if not row.missing for cell in row.cells.values())
    return TablePlan(config=config, rows=rows)


def run_table(plan: TablePlan, display: Display, site: Site | None = None) -> None:
    """Run what is left of the table and write its report. Exit code 1 where a cell is missing, refused or failed.

    site: where cells run, in the place of the launcher's.
    """
    config = plan.config
    if config.dry_run:
        dry_run(config, plan.rows, display)
        return
    if config.runs is not None:
        runs = adopted(Path(config.runs), plan.rows)
        _show(_report(plan, runs, ()), Path(config.output), display)
        return
    begin(Path(config.output), config.name, plan.rows)
    with nullcontext(site) if site is not None else opened(config.launcher) as place:
        outcomes = _run(plan, display, place)
    _show(_report(plan, _finished(plan), outcomes), Path(config.output), display)
    if code := exit_code(outcomes):
        display.console.print(terminal([one for one in outcomes if one.state is not State.FINISHED]))
        raise SystemExit(code)


def _run(plan: TablePlan, display: Display, site: Site) -> tuple[Outcome, ...]:
    """Starts first, then the cells whose start is there. What is missing is refused without being started.

    Raises ConfigError, before a start runs, for a cell that cannot be launched.
    """
    launcher, missing = plan.config.launcher, list[Outcome]()
    for row, _, cell in plan.cells():
        if not row.missing:
            site.check(cell)
    start_outcomes = run_cells(plan.starts, launcher=launcher, display=display, site=site)
    lacking = {one.cell.digest: one for one in start_outcomes if one.state is not State.FINISHED}
    able = list[Cell]()
    for row, seed, cell in plan.cells():
        if row.missing:
            line = "; ".join(row.missing)
            missing.append(Outcome(cell=cell, state=State.REFUSED, line=f"missing: {line}"))
        elif seed in row.starts and (start := lacking.get(row.starts[seed].digest)) is not None:
            line = f"its start {start.cell.digest} {start.state}: {start.line}"
            missing.append(Outcome(cell=cell, state=State.FAILED, line=line))
        else:
            able.append(cell)
    watcher = _Reporting(plan, able)
    done = run_cells(able, launcher=launcher, display=display, watcher=watcher, site=site)
    return (*lacking.values(), *done, *missing)


class _Reporting(Index):
    """Keeps the index of the cells, and writes the report after each that finishes, not for those found finished."""

    def __init__(self, plan: TablePlan, cells: Sequence[Cell]) -> None:
        super().__init__(Path(plan.config.output), cells)
        self._plan = plan

    def changed(self, outcome: Outcome) -> None:
        before = self._outcomes.get(outcome.cell.digest)
        super().changed(outcome)
        if outcome.state is State.FINISHED and (before is None or before.state is not State.FINISHED):
            _report(self._plan, _finished(self._plan), self.outcomes)


def _finished(plan: TablePlan) -> Runs:
    """The runs of all cells that have finished."""
    runs = dict[str, dict[int, Run]]()
    for row, seed, cell in plan.cells():
        if outcome_of(cell).state is State.FINISHED and (run := finished_run(cell.folder)) is not None:
            runs.setdefault(row.row.name, {})[seed] = run
    return runs


def _report(plan: TablePlan, runs: Runs, outcomes: Sequence[Outcome]) -> TableNumbers:
    config = plan.config
    seeds = len(config.chosen_seeds)
    numbers = table_numbers(config.name, config.table, config.chosen_rows, runs, planned=seeds)
    states = {one.cell.title: {"state": one.state, "line": one.line, "seconds": one.seconds} for one in outcomes}
    facts = {"config": asdict(config), "commit": commit_here(), "cells": states}
    cells = None if config.runs is None else Path(config.runs).absolute()
    write_report(Path(config.output), numbers, runs, facts=facts, cells=cells)
    return numbers


def _show(numbers: TableNumbers, output: Path, display: Display) -> None:
    display.line(Text(numbers.title, "bold"))
    for grid in grids(numbers):
        display.console.print(TerminalTable(grid))
    for number, text in enumerate(numbers.footnotes, 1):
        display.line(f"{number}. {text}")
    display.line(f"report: {output / 'table.html'}")
