"""Tables on a terminal: nothing is cut and no number is split, however narrow the terminal is.

A table that is too wide is printed in blocks of columns, with the rows' names in each. A name that would leave too
little room stands on a line of its own above its numbers. Heads are broken at spaces and after `/`, `_` and `=`.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from trainer.report.grid import Grid

NAME_SHARE = 0.4
"""Largest share of the width for the rows' names; a longer name stands on a line of its own."""

BREAKS = re.compile(r"(?<=[/_=])(?=.)|(?<=\.)(?=[A-Za-z])|(?= )")
"""Where a head may be broken: never inside a number."""


@dataclass(frozen=True, slots=True)
class TerminalTable:
    """A grid for rich to print in the width of its console."""

    grid: Grid
    """The table."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line, style in table_lines(self.grid, options.max_width):
            yield Text(line, style, no_wrap=True, overflow="ignore")


def table_lines(grid: Grid, width: int) -> Iterator[tuple[str, str]]:
    """(line, style) of the whole table. No line is wider than `width`, unless a single word or number is."""
    layout = _layout(grid, width)
    yield "", ""
    for text, style in ((grid.title, "italic"), (grid.note, "dim")):
        for line in textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False):
            yield line, style
    separate = False
    for part, rows in _parts(grid):
        for block in layout.blocks:
            if separate:
                yield "", ""
            separate = True
            yield from layout.head_lines(part, grid.heads, block)
            yield from layout.row_lines(rows, block)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Widths in cells, and which columns stand beside each other."""

    name: int
    """Of the rows' names."""

    columns: tuple[int, ...]
    """Of each column; the first is of the names and not used."""

    blocks: tuple[Sequence[int], ...]
    """The columns of each block."""

    gap: int
    """Blank cells in front of a column."""

    def head_lines(self, part: str, heads: Sequence[str], block: Sequence[int]) -> Iterator[tuple[str, str]]:
        """The heads of a block, aligned at the bottom, with the part's name on the last line."""
        folded = {column: _fold(heads[column], self.columns[column]) for column in block}
        height = max(len(lines) for lines in folded.values())
        for level in range(height):
            cells = [([""] * (height - len(lines)) + lines)[level] for lines in folded.values()]
            yield self._line(part if level == height - 1 else "", cells, block), "bold"

    def row_lines(self, rows: Sequence[tuple[str, ...]], block: Sequence[int]) -> Iterator[tuple[str, str]]:
        for name, *cells in rows:
            beside = cell_len(name) <= self.name
            if not beside:
                yield name, ""
            yield self._line(name if beside else "", [cells[column - 1] for column in block], block), ""

    def _line(self, name: str, cells: Sequence[str], block: Sequence[int]) -> str:
        """The name to the left, the cells to the right of their columns."""
        texts = (
            " " * (self.gap + self.columns[column] - cell_len(cell)) + cell
            for column, cell in zip(block, cells, strict=True)
        )
        return (name + " " * (self.name - cell_len(name)) + "".join(texts)).rstrip()


def _layout(grid: Grid, width: int) -> _Layout:
    """As few blocks as possible, with as many columns in each."""
    limit = int(NAME_SHARE * width)
    names = (cell_len(row[0]) for row in grid.rows)
    name = max((length for length in (*names, cell_len(grid.heads[0])) if length <= limit), default=0)
    rows = [row for row in grid.rows if len(row) > 1]
    columns = (
        name,
        *(
            max(*(cell_len(piece.strip()) for piece in BREAKS.split(head)), *(cell_len(row[column]) for row in rows))
            for column, head in enumerate(grid.heads[1:], start=1)
        ),
    )
    indices = range(1, len(columns))
    for count in indices:
        size = -(-len(indices) // count)
        blocks = tuple(indices[start : start + size] for start in range(0, len(indices), size))
        if all(name + sum(grid.gap + columns[column] for column in block) <= width for block in blocks):
            return _Layout(name=name, columns=columns, blocks=blocks, gap=grid.gap)
    return _Layout(name=name, columns=columns, blocks=tuple((column,) for column in indices), gap=grid.gap)


def _parts(grid: Grid) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """(heading, rows) of each part; a table without parts is one, under the head of its names."""
    heading = grid.heads[0]
    rows: list[tuple[str, ...]] = []
    for row in grid.rows:
        name, *cells = row
        if cells:
            rows.append(row)
            continue
        if rows:
            yield heading, rows
        heading, rows = name, []
    yield heading, rows


def _fold(head: str, width: int) -> list[str]:
    """The head on lines of at most `width` cells."""
    lines = [""]
    for piece in BREAKS.split(head):
        if cell_len(f"{lines[-1]}{piece}".strip()) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return [line.strip() for line in lines]
