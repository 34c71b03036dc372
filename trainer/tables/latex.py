"""A table in LaTeX: the result and the published numbers, for booktabs and threeparttable."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from trainer.tables.bootstrap import Estimate
from trainer.tables.numbers import Difference, RowNumbers, TableNumbers, TogetherNumbers

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}
SPECIAL |= {character: f"{{{character}}}" for character in "[*"}  # at the start of a line an argument of the last one's
MISSING = "--"

Column = tuple[str, Callable[[RowNumbers], str]]
"""A head, and what a row has below it."""


def latex(table: TableNumbers) -> str:
    """A table environment. Its preamble is \\usepackage{booktabs,threeparttable}."""
    columns = list(_columns(table))
    heads = ["", *(head for head, _ in columns), "seeds"]
    lines = [
        r"% \usepackage{booktabs,threeparttable}",
        r"\begin{table}",
        r"\centering\small",
        r"\begin{threeparttable}",
        rf"\caption{{{escaped(table.title)}. Percent at the last validation: mean, with its 95\,\% interval.}}",
        rf"\begin{{tabular}}{{l{'r' * (len(columns) + 1)}}}",
        r"\toprule",
        rf"{' & '.join(heads)} \\",
        r"\midrule",
        *(rf"{_row(row, columns)} \\" for row in table.rows),
        *([r"\midrule"] if table.together else []),
        *(rf"{_together(one, table.lead, len(columns))} \\" for one in table.together),
        r"\bottomrule",
        r"\end{tabular}",
        r"\begin{tablenotes}\footnotesize",
        *(rf"\item[{number}] {escaped(text)}" for number, text in enumerate(table.footnotes, 1)),
        *([rf"\item {escaped(table.note)}"] if table.note else []),
        r"\end{tablenotes}",
        r"\end{threeparttable}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text without meaning to LaTeX.

    >>> escaped("50 % of a_b")
    '50 \\\\% of a\\\\_b'
    """
    plain = text.replace("\N{EN DASH}", "--")
    return "".join(SPECIAL.get(character, character) for character in plain)


def _row(row: RowNumbers, columns: Sequence[Column]) -> str:
    marks = rf"\tnote{{{','.join(map(str, row.notes))}}}" if row.notes else ""
    cells = [cell(row) for _, cell in columns]
    return " & ".join([escaped(row.title) + marks, *cells, f"{len(row.seeds)}/{row.planned}"])


def _together(one: TogetherNumbers, column: str, columns: int) -> str:
    """The last column is the difference from the baseline."""
    number = _minus(one.baseline, column)
    return " & ".join([escaped(one.label), *[MISSING] * (columns - 1), number, str(len(one.baseline.seeds))])


def _columns(table: TableNumbers) -> Iterator[Column]:
    """Those of the runs; beside them the published number and the difference from the baseline where a row has one."""
    lead = table.lead
    for column in table.columns:
        yield escaped(column), partial(_last, column)
    yield f"{escaped(lead)}, best", partial(_best, lead)
    if any(lead in row.published for row in table.rows):
        yield "published", partial(_published, lead)
    if others := [row.baseline.other for row in table.rows if row.baseline is not None]:
        yield f"minus {escaped(others[0])}", partial(_minus_baseline, lead)


def _last(column: str, row: RowNumbers) -> str:
    return _estimate(row.columns[column].last) if column in row.columns else MISSING


def _best(column: str, row: RowNumbers) -> str:
    return _mean(row.columns[column].best) if column in row.columns else MISSING


def _published(column: str, row: RowNumbers) -> str:
    if column not in row.published:
        return MISSING
    number = row.published[column]
    spread = "" if number.spread is None else rf"\pm {number.spread:.1f}"
    return rf"${number.value:.1f}{spread}$"


def _minus_baseline(column: str, row: RowNumbers) -> str:
    return _minus(row.baseline, column)


def _minus(difference: Difference | None, column: str) -> str:
    if difference is None or column not in difference.columns:
        return MISSING
    return _estimate(difference.columns[column], "+")


def _estimate(number: Estimate, sign: str = "") -> str:
    if number.low is None or number.high is None:
        return _mean(number, sign)
    return rf"{_mean(number, sign)} \scriptsize{{[{100 * number.low:{sign}.1f}, {100 * number.high:{sign}.1f}]}}"


def _mean(number: Estimate, sign: str = "") -> str:
    spread = "" if number.std is None else rf"\pm {100 * number.std:.1f}"
    return rf"${100 * number.mean:{sign}.1f}{spread}$"
