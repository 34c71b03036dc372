"""A table in LaTeX: the result and the published numbers, for booktabs and threeparttable."""

from trainer.tables.bootstrap import Estimate
from trainer.tables.config import Published
from trainer.tables.numbers import RowNumbers, TableNumbers

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}
MISSING = "--"


def latex(table: TableNumbers) -> str:
    """A table environment. Its preamble is \\usepackage{booktabs,threeparttable}."""
    columns = list(table.columns)
    heads = " & ".join(["", *map(escaped, columns), f"{escaped(table.lead)}, best", "published", "seeds"])
    lines = [
        r"% \usepackage{booktabs,threeparttable}",
        r"\begin{table}",
        r"\centering\small",
        r"\begin{threeparttable}",
        rf"\caption{{{escaped(table.title)}. Percent at the last validation: mean, with its 95\,\% interval.}}",
        rf"\begin{{tabular}}{{l{'r' * (len(columns) + 3)}}}",
        r"\toprule",
        rf"{heads} \\",
        r"\midrule",
        *(rf"{_row(row, columns)} \\" for row in table.rows),
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


def _row(row: RowNumbers, columns: list[str]) -> str:
    marks = rf"\tnote{{{','.join(map(str, row.notes))}}}" if row.notes else ""
    lead = row.columns.get(columns[0])
    cells = [_last(row.columns[column].last) if column in row.columns else MISSING for column in columns]
    cells += [_mean(lead.best) if lead else MISSING, _published(row.published.get(columns[0]))]
    return " & ".join([escaped(row.title) + marks, *cells, f"{len(row.seeds)}/{row.planned}"])


def _last(number: Estimate) -> str:
    if number.low is None or number.high is None:
        return _mean(number)
    return rf"{_mean(number)} \scriptsize{{[{100 * number.low:.1f}, {100 * number.high:.1f}]}}"


def _mean(number: Estimate) -> str:
    spread = "" if number.std is None else rf"\pm {100 * number.std:.1f}"
    return rf"${100 * number.mean:.1f}{spread}$"


def _published(number: Published | None) -> str:
    if number is None:
        return MISSING
    spread = "" if number.spread is None else rf"\pm {number.spread:.1f}"
    return rf"${number.value:.1f}{spread}$"
