"""What a table leaves to read, written anew after every cell: Markdown, CSV, LaTeX, a page, and all in JSON."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.durable import write_whole
from trainer.report import charts
from trainer.report.grid import markdown
from trainer.report.pages import templates
from trainer.setup.conditions import versions
from trainer.tables.bootstrap import Estimate
from trainer.tables.curves import curves
from trainer.tables.grids import grids
from trainer.tables.latex import latex
from trainer.tables.numbers import Difference, TableNumbers
from trainer.tables.recorded import raw
from trainer.tables.runs import Run

METHOD = (
    "Intervals: 95 %, by a bootstrap over seeds and tasks (crossed effects, 10,000 draws; Student's quantile for few "
    "seeds). Differences are of equal seeds on equal tasks."
)
HEADS = (
    *("row", "title", "column", "seeds", "last_mean", "last_std", "last_low", "last_high", "best_mean", "best_std"),
    *("published", "published_spread", "source", "above", "above_mean", "above_low", "above_high"),
    *("baseline", "baseline_mean", "baseline_low", "baseline_high", "seconds", "tokens"),
)
"""Of table.csv. Shares are in [0, 1], published numbers in percent."""


def write_report(
    folder: Path,
    table: TableNumbers,
    runs: Mapping[str, Mapping[int, Run]],
    *,
    facts: Mapping[str, Any],
    cells: Path | None = None,
) -> None:
    """Write all files into `folder`. facts: what report.json holds besides: config, commit, states of the cells.

    cells: the folder that the runs were read from, if they are none of this table's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "table.md", _markdown(table))
    write_whole(folder / "table.csv", _csv(table))
    write_whole(folder / "table.tex", latex(table))
    write_whole(folder / "table.html", _page(table))
    write_whole(folder / "report.json", _handed_on(_json(table, runs, facts), folder, cells))


def _page(table: TableNumbers) -> str:
    figure = curves(table)
    return (
        templates(Path(__file__).parent)
        .get_template("table.html.j2")
        .render(
            table=table,
            grids=list(grids(table)),
            figure=None if figure is None else charts.inline_svg(figure, f"learning curves of {table.name}"),
            finished=sum(len(row.seeds) for row in table.rows),
            planned=sum(row.planned for row in table.rows),
            method=METHOD,
            light=charts.LIGHT,
            dark=charts.DARK,
        )
    )


def _markdown(table: TableNumbers) -> str:
    parts = [f"# {table.title}", "", *(markdown(grid, code=False) for grid in grids(table))]
    notes = [f"{number}. {text}" for number, text in enumerate(table.footnotes, 1)]
    return "\n".join([*parts, METHOD, "", *notes]) + "\n"


def _csv(table: TableNumbers) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADS)
    writer.writerows(_csv_rows(table))
    return text.getvalue()


def _csv_rows(table: TableNumbers) -> Iterator[list[Any]]:
    for row in table.rows:
        for column in table.columns:
            numbers, published = row.columns.get(column), row.published.get(column)
            last, best = (numbers.last, numbers.best) if numbers else (None, None)
            cells: list[Any] = [row.name, row.title, column, len(row.seeds)]
            cells += [*_ends(last, "mean", "std", "low", "high"), *_ends(best, "mean", "std")]
            cells += [published and published.value, published and published.spread, row.source]
            cells += [*_against(row.above, column), *_against(row.baseline, column)]
            yield [*cells, row.seconds, row.tokens]
    for one in table.together:
        for column in one.baseline.columns:
            cells = ["", one.label, column, len(one.baseline.seeds)]
            cells += [None] * (HEADS.index("baseline") - len(cells))
            yield [*cells, *_against(one.baseline, column), None, None]


def _against(difference: Difference | None, column: str) -> list[str | float | None]:
    number = difference and difference.columns.get(column)
    return [difference and difference.other, *_ends(number, "mean", "low", "high")]


def _ends(number: Estimate | None, *names: str) -> list[float | None]:
    return [None if number is None else getattr(number, name) for name in names]


def _handed_on(report: Mapping[str, Any], folder: Path, cells: Path | None) -> str:
    """As JSON in which places in the table's folder, or beside `cells`, are told from there.

    A report is read on other machines too.
    """
    text = json.dumps(report, indent=1, default=str)
    for place in (folder, *([] if cells is None else [cells.parent])):
        here = json.dumps(str(place.absolute()))[1:-1]
        text = text.replace(f'"{here}/', '"').replace(f'"{here}"', '"."')
    return text + "\n"


def _json(table: TableNumbers, runs: Mapping[str, Mapping[int, Run]], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **facts,
        "packages": versions(),
        "method": METHOD,
        "table": asdict(table),
        "runs": {name: {str(seed): raw(run) for seed, run in of.items()} for name, of in runs.items()},
    }
