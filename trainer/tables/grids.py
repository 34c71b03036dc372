"""The numbers of a table as tables of text, for Markdown, for the page and for the terminal."""

from collections.abc import Iterator, Sequence

from trainer.report.grid import MISSING, PLUS_MINUS, Grid
from trainer.report.progress import duration
from trainer.tables.bootstrap import Estimate
from trainer.tables.config import Published
from trainer.tables.numbers import Difference, Reach, RowNumbers, TableNumbers

LAST = (
    f"percent at the last validation: mean {PLUS_MINUS} standard deviation over seeds "
    "[95 % interval over seeds and tasks]"
)


def grids(table: TableNumbers) -> Iterator[Grid]:
    """The result, the best validations beside the published numbers, differences, and costs."""
    yield _result(table)
    yield _best(table)
    if any(row.above or row.baseline for row in table.rows):
        yield _differences(table)
    yield _learning(table)


def _result(table: TableNumbers) -> Grid:
    rows = [
        (_named(row), *(_last(row, column) for column in table.columns), f"{len(row.seeds)}/{row.planned}")
        for row in table.rows
    ]
    return Grid(title="Last validation", note=LAST, heads=("", *table.columns, "seeds"), rows=tuple(rows))


def _best(table: TableNumbers) -> Grid:
    """Without a column of published numbers where there are none."""
    shown = {column: any(column in row.published for row in table.rows) for column in table.columns}
    heads = [
        head
        for column, published in shown.items()
        for head in (f"{column}, best", *([f"{column}, published"] if published else []))
    ]
    rows = [
        (
            row.title,
            *(cell for column, published in shown.items() for cell in _beside(row, column)[: 1 + published]),
            ", ".join(map(str, row.best_updates)) or MISSING,
            *([row.source or MISSING] if any(shown.values()) else []),
        )
        for row in table.rows
    ]
    beside = " beside the published number" if any(shown.values()) else ""
    return Grid(
        title=f"Best validation{beside}",
        note=f"percent; of each run the validation with the best {table.lead}. {table.note}".rstrip(),
        heads=("", *heads, "at update", *(["source"] if any(shown.values()) else [])),
        rows=tuple(rows),
    )


def _differences(table: TableNumbers) -> Grid:
    rows = [(row.title, *_against(row.above, table.lead), *_against(row.baseline, table.lead)) for row in table.rows]
    rows += [(one.label, MISSING, MISSING, *_against(one.baseline, table.lead)) for one in table.together]
    return Grid(
        title=f"Differences, {table.lead}",
        note="points at the last validation, paired by seed and task [95 % interval]",
        heads=("", "minus the row above", "which is", "minus the baseline", "which is"),
        rows=tuple(rows),
    )


def _learning(table: TableNumbers) -> Grid:
    levels = [f"{100 * reach.level:.0f}\N{NO-BREAK SPACE}%" for reach in table.rows[0].reached]
    rows = [
        (
            row.title,
            *(map(_reach, row.reached)),
            MISSING if not row.seconds else duration(row.seconds),
            MISSING if not row.tokens else f"{row.tokens / 1e6:.2f} M",
        )
        for row in table.rows
    ]
    return Grid(
        title="Updates to a success, and what a run costs",
        note="median update of the first validation at that success (seeds that reach it); means over seeds",
        heads=("", *levels, "wall-clock", "tokens sampled"),
        rows=tuple(rows),
    )


def percent(number: Estimate, *, signed: bool = False) -> str:
    """Such as "72.8 \N{PLUS-MINUS SIGN} 3.6 [68.0, 77.5]"."""
    sign = "+" if signed else ""
    text = f"{100 * number.mean:{sign}.1f}"
    if number.std is not None:
        text += f" {PLUS_MINUS} {100 * number.std:.1f}"
    if number.low is not None and number.high is not None:
        text += f" [{100 * number.low:{sign}.1f}, {100 * number.high:{sign}.1f}]"
    return text


def published_words(published: Published | None) -> str:
    """Such as "72.8 \N{PLUS-MINUS SIGN} 3.6"."""
    if published is None:
        return MISSING
    spread = "" if published.spread is None else f" {PLUS_MINUS} {published.spread:.1f}"
    return f"{published.value:.1f}{spread}"


def _named(row: RowNumbers) -> str:
    """The title with the numbers of its footnotes, such as "GRPO [1, 2]"."""
    return f"{row.title} [{', '.join(map(str, row.notes))}]" if row.notes else row.title


def _last(row: RowNumbers, column: str) -> str:
    return percent(row.columns[column].last) if column in row.columns else MISSING


def _beside(row: RowNumbers, column: str) -> Sequence[str]:
    best = MISSING
    if column in row.columns:
        number = row.columns[column].best
        best = f"{100 * number.mean:.1f}" + ("" if number.std is None else f" {PLUS_MINUS} {100 * number.std:.1f}")
    return best, published_words(row.published.get(column))


def _against(difference: Difference | None, column: str) -> Sequence[str]:
    if difference is None or column not in difference.columns:
        return MISSING, MISSING
    seeds = len(difference.seeds)
    return percent(difference.columns[column], signed=True), f"{difference.other}, {seeds} seed{'s'[: seeds > 1]}"


def _reach(reach: Reach) -> str:
    if reach.median is None:
        return MISSING
    count = sum(update is not None for update in reach.updates)
    return f"{reach.median:g} ({count}/{len(reach.updates)})"
