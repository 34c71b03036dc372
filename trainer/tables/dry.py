"""What a table would run, said without running anything: its cells, their GPU-hours, and what is missing here."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from trainer.cells.cell import State, outcome_of
from trainer.report.progress import Display
from trainer.tables.config import TableConfig
from trainer.tables.cost import HOW
from trainer.tables.planned import PlannedRow

WIDTH = 80


def dry_run(config: TableConfig, rows: Sequence[PlannedRow], display: Display) -> None:
    """Print the plan in 80 columns."""
    seeds = config.chosen_seeds
    starts = {cell.digest for row in rows for cell in row.starts.values()}
    cells = len(rows) * len(seeds)
    table = Table(title=Text(f"{config.table.title}: {cells} cells"), title_justify="left", width=WIDTH)
    for head in ("row", "command", "seeds", "done", "GPUs", "GPU-hours", "here"):
        table.add_column(head, justify="left" if head in ("row", "command", "here") else "right", no_wrap=head != "row")
    for row in rows:
        done = sum(outcome_of(cell).state is State.FINISHED for cell in row.cells.values())
        gpus = "?" if row.config is None else str(row.config.cluster.gpus)
        hours = "?" if row.config is None else "-" if row.hours is None else _whole(row.hours * len(seeds))
        ready = "missing" if row.missing else "fetches" if row.fetches else "ready"
        table.add_row(Text(row.row.title), row.row.command, str(len(seeds)), str(done), gpus, hours, ready)
    display.console.print(table, soft_wrap=False)
    for line in (*_summary(rows, len(seeds), len(starts)), *_missing(rows), *_deviations(rows)):
        display.console.print(line, markup=False, emoji=False, width=WIDTH, soft_wrap=False)
    display.console.print(f"cells and report: {Path(config.output)}", markup=False, soft_wrap=True)


def _summary(rows: Sequence[PlannedRow], seeds: int, starts: int) -> list[str]:
    lines = [f"warm starts, which the rows of a seed share: {starts}"] if starts else []
    panels = {row.panel.digest: row.panel for row in rows if row.panel is not None}
    lines += [f"{len(one.tasks)} tasks of {one.world} {one.split}, panel {one.digest[:16]}" for one in panels.values()]
    if any(row.hours for row in rows):
        hours = sum(row.hours * seeds for row in rows if row.hours)
        lines.append(f"about {_whole(hours)} hours of one H100: {HOW}")
    return lines


def _whole(hours: float) -> str:
    """Hours as a whole number; less than half of one is no 0."""
    return f"{hours:.0f}" if hours >= 0.5 else "<1"


def _missing(rows: Sequence[PlannedRow]) -> list[str]:
    """What is missing here, each once with its rows."""
    fetched = dict.fromkeys(row.fetches for row in rows if row.fetches)
    lines = [f"missing: {line}" for line in _whose(rows, lambda row: row.missing)]
    return lines + [f"fetched from the hub first: {model}" for model in fetched]


def _deviations(rows: Sequence[PlannedRow]) -> list[str]:
    """Where rows are not the published protocol, each sentence once with its rows."""
    return [f"differs from the protocol: {line}" for line in _whose(rows, lambda row: row.deviations)]


def _whose(rows: Sequence[PlannedRow], sentences_of: Callable[[PlannedRow], Iterable[str]]) -> list[str]:
    """Every sentence once, in the order of the rows, with the rows that it is of."""
    whose = dict[str, list[str]]()
    for row in rows:
        for sentence in sentences_of(row):
            whose.setdefault(sentence, []).append(row.row.name)
    return [f"{one} ({', '.join(names) if len(names) < len(rows) else 'all'})" for one, names in whose.items()]
