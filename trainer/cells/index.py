"""The readable index of a folder's cells: which digest is which cell, and how far it is. cells.json and cells.md."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from trainer.cells.cell import Cell, Outcome, outcome_of
from trainer.cells.launch import Watcher
from trainer.durable import write_whole
from trainer.report.progress import span

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


def _markdown(outcomes: Sequence[Outcome]) -> str:
    lines = ["| cell | digest | settings | state | time | |", "|---:|---|---|---|---:|---|"]
    for number, outcome in enumerate(outcomes):
        title, why = (text.replace("|", "\\|") for text in (outcome.cell.title, outcome.line))
        took = span(outcome.seconds) if outcome.seconds else ""
        lines.append(f"| {number} | `{outcome.cell.digest}` | `{title}` | {outcome.state} | {took} | {why} |")
    return "\n".join(lines) + "\n"


def terminal(outcomes: Sequence[Outcome]) -> Table:
    """The cells as a table for the terminal, each with the line that it ended with."""
    table = Table("cell", "digest", "settings", "state", box=None, pad_edge=False, header_style="dim")
    for number, outcome in enumerate(outcomes):
        settings = outcome.cell.title
        if outcome.line:
            line = outcome.line if len(outcome.line) <= LONGEST_LINE else f"{outcome.line[: LONGEST_LINE - 4]} ..."
            settings = f"{settings}\n  {line}"
        table.add_row(str(number), outcome.cell.digest, settings, str(outcome.state))
    return table
