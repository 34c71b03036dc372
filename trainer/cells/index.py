"""The readable index of a folder's cells: which digest is which cell, and how far it is. cells.json and cells.md."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from trainer.cells.cell import FOLDER, Cell, Outcome, outcome_of, recorded_cell
from trainer.cells.launch import Watcher
from trainer.durable import write_whole
from trainer.report.progress import duration

JSON, MARKDOWN = "cells.json", "cells.md"
LONGEST_LINE = 160  # characters of what a cell ended with, in the terminal


class Index(Watcher):
    """Keeps the index of `folder` up to date while cells run."""

    def __init__(self, folder: Path, cells: Sequence[Cell]) -> None:
        """cells: in the order of their numbers; further ones are added when they start."""
        self._folder = folder
        self._outcomes = {cell.digest: outcome_of(cell) for cell in cells}
        self._write()

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """How far each cell is, in the order of their numbers."""
        return tuple(self._outcomes.values())

    def changed(self, outcome: Outcome) -> None:
        self._outcomes[outcome.cell.digest] = outcome
        self._write()

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "number": number,
                "digest": outcome.cell.digest,
                "title": outcome.cell.title,
                "command": outcome.cell.command,
                "words": list(outcome.cell.words),
                "state": outcome.state,
                "line": outcome.line,
                "seconds": round(outcome.seconds, 3),
            }
            for number, outcome in enumerate(self.outcomes)
        ]
        write_whole(self._folder / JSON, json.dumps(rows, indent=2) + "\n")
        write_whole(self._folder / MARKDOWN, _markdown(self.outcomes))


def earlier_cells(folder: Path, **needs: Any) -> list[Cell]:
    """The cells that lie in `folder` already: those of its index in their order, then those that have a record alone.

    An index that is gone or broken is left to the records: it is written anew from them. needs: the fields of Cell that
    neither keeps.
    """
    try:
        rows = json.loads((folder / JSON).read_text())
        cells = [_indexed_cell(folder, row, **needs) for row in rows]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        cells = []
    there = {cell.digest for cell in cells}
    records = sorted((folder / FOLDER).glob("*.json"), key=lambda record: record.stat().st_mtime_ns)
    return [*cells, *(recorded_cell(record, **needs) for record in records if record.stem not in there)]


def _indexed_cell(folder: Path, row: dict[str, Any], **needs: Any) -> Cell:
    place, words = folder / FOLDER / row["digest"], tuple(row["words"])
    return Cell(command=row["command"], words=words, folder=place, title=row["title"], **needs)


def _markdown(outcomes: Sequence[Outcome]) -> str:
    lines = ["| cell | digest | settings | state | time | |", "|---:|---|---|---|---:|---|"]
    for number, outcome in enumerate(outcomes):
        title, why = (text.replace("|", "\\|") for text in (outcome.cell.title, outcome.line))
        took = duration(outcome.seconds) if outcome.seconds else ""
        lines.append(f"| {number} | `{outcome.cell.digest}` | `{title}` | {outcome.state} | {took} | {why} |")
    return "\n".join(lines) + "\n"


def terminal(outcomes: Sequence[Outcome]) -> Table:
    """The cells as a table for the terminal, each with the line that it ended with.

    Settings and lines are plain text: `[plan,judge]` in them is no markup.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("cell", "digest", "settings", "state"):
        table.add_column(head, overflow="fold", no_wrap=head != "settings")
    for number, outcome in enumerate(outcomes):
        settings = outcome.cell.title
        if outcome.line:
            line = outcome.line if len(outcome.line) <= LONGEST_LINE else f"{outcome.line[: LONGEST_LINE - 4]} ..."
            settings = f"{settings}\n  {line}"
        table.add_row(str(number), outcome.cell.digest, Text(settings), str(outcome.state))
    return table
