"""What the lab found as tables: for the terminal, and the same cells for the page."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from trainer.lab.measure.recorded import UpdateCredit
from trainer.lab.measure.truth import Measured, TruthError

SHAPES = ("zero", "between_groups", "between_rollouts", "within_rollouts", "effective")
CLUSTERS = ("singleton_share", "cluster_size_mean", "cluster_size_p90", "pairs", "largest_cluster_share")
BRANCHES = ("share_contrast", "share_no_contrast", "share_singleton")
BANDED = {"error": "error", "bias": "bias", "variance": "variance", "cosine": "alignment"}
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table of texts: a title, a line on what it says, the heads, and rows whose first cell is their name.

    A row of one cell is the heading of those below it.
    """

    title: str
    note: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def recorded_grids(found: Sequence[UpdateCredit]) -> Iterator[Grid]:
    """Means over the updates, each counted once; pairs of estimators where all were held against each other."""
    if not found:
        return
    names = tuple(found[0].credit)
    yield _shapes(found, names)
    if len(names) > 1 and found[0].pairs:
        yield _pairs(found, names, "Rank correlation", "Spearman's, over rows of an update", lambda one: one.rank)
        note = "of the rows that both give credit to, how many get the same sign"
        yield _pairs(found, names, "Sign agreement", note, lambda one: one.sign)
    yield from _diagnostics(found, names)


def truth_grids(found: Sequence[TruthError]) -> Iterator[Grid]:
    """Estimators by group size, one table per world; worlds side by side where there is one size alone."""
    worlds, sizes = (list(dict.fromkeys(getattr(one, by) for one in found)) for by in ("world", "size"))
    if len(worlds) > 1 and len(sizes) == 1:
        columns = {world: [one for one in found if one.world == world] for world in worlds}
        yield _against_truth(f"Against the true advantage, groups of {sizes[0]}", "", columns)
        return
    for world in worlds:
        columns = {str(size): [one for one in found if (one.world, one.size) == (world, size)] for size in sizes}
        yield _against_truth(f"Against the true advantage: {world}", "groups of", columns)


def _against_truth(title: str, head: str, columns: Mapping[str, Sequence[TruthError]]) -> Grid:
    """A part for each number; a column for each entry, the same estimators in all."""
    rows: list[tuple[str, ...]] = []
    names = dict.fromkeys(one.estimator for found in columns.values() for one in found)
    of = [{one.estimator: one for one in found} for found in columns.values()]
    for part, field in BANDED.items():
        rows.append((part,))
        for name in names:
            rows.append((name, *(measured(getattr(one[name], field)) if name in one else NOTHING for one in of)))
    return Grid(
        title=title,
        note="error = bias + variance, in units of E A^2; \u00b1 95 %",
        heads=(head, *columns),
        rows=tuple(rows),
    )


def on_terminal(grid: Grid) -> Group:
    """Title and note are lines of their own: a narrow table would break its title. Brackets in names are no markup."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for at, head in enumerate(grid.heads):
        table.add_column(escape(head), justify="left" if at == 0 else "right", overflow="fold", no_wrap=at == 0)
    for row in grid.rows:
        table.add_row(*map(escape, row), style="bold" if len(row) == 1 else None)
    return Group(f"\n[italic]{escape(grid.title)}[/italic]", f"[dim]{grid.note}[/dim]", table)


def markdown(grid: Grid) -> str:
    """As a page of docs has it."""
    rows = [(f"**{row[0]}**", *[""] * (len(grid.heads) - 1)) if len(row) == 1 else (f"`{row[0]}`", *row[1:])
            for row in grid.rows]  # fmt: skip
    lines = (grid.heads, ["---"] * len(grid.heads), *rows)
    return "\n".join([f"**{grid.title}** ({grid.note})", "", *(f"| {' | '.join(cells)} |" for cells in lines), ""])


def measured(number: Measured) -> str:
    """ "0.51±0.02"; a band that could not be told is left out."""
    if math.isnan(number.value):
        return NOTHING
    return f"{number.value:.2f}" + ("" if math.isnan(number.half) else f"\N{PLUS-MINUS SIGN}{number.half:.2f}")


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are there; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _shapes(found: Sequence[UpdateCredit], names: Sequence[str]) -> Grid:
    def row(name: str) -> tuple[str, ...]:
        shares = (mean([getattr(one.credit[name].shape, field) for one in found]) for field in SHAPES)
        ms = mean([one.credit[name].ms for one in found])
        return (name, *map(_percent, shares), _number(ms))

    rows, success = sum(one.rows for one in found), mean([one.success for one in found])
    states = mean([one.states.singleton_states for one in found]), mean([one.states.singleton_rows for one in found])
    return Grid(
        title="Credit on recorded rollouts",
        note=f"updates {_span(found)}: {rows} rows, {_percent(success)} of the rollouts solved their task; "
        f"{_percent(states[0])} of the states were seen once, {_percent(states[1])} of the rows",
        heads=("", "no credit", "between groups", "between rollouts", "within rollouts", "effective rows", "ms a call"),
        rows=tuple(map(row, names)),
    )


def _pairs(
    found: Sequence[UpdateCredit], names: Sequence[str], title: str, note: str, number: Callable[..., float | None]
) -> Grid:
    def cell(one: str, other: str) -> str:
        if one == other:
            return ""
        pair = (one, other) if (one, other) in found[0].pairs else (other, one)
        return _number(mean([number(update.pairs[pair]) for update in found]))

    rows = tuple((one, *(cell(one, other) for other in names)) for one in names)
    return Grid(title=title, note=note, heads=("", *names), rows=rows)


def _diagnostics(found: Sequence[UpdateCredit], names: Sequence[str]) -> Iterator[Grid]:
    """What estimators tell of themselves: clusters, branches, and the rest."""
    told = {name: list(found[0].credit[name].diagnostics) for name in names}
    rest = [
        key for key in dict.fromkeys(key for keys in told.values() for key in keys) if key not in (*CLUSTERS, *BRANCHES)
    ]
    for title, note, keys in (
        ("Clusters", "rows of one group that count as taken in the same state", CLUSTERS),
        ("Branches", "share of the rows held against other actions, the same action alone, nothing", BRANCHES),
        ("Other diagnostics", "see docs/estimators.md", rest),
    ):
        having = [name for name in names if set(keys) & set(told[name])]
        if having:
            rows = ((name, *(_told(found, name, key) for key in keys)) for name in having)
            heads = ("", *(key.replace("_", " ") for key in keys))
            yield Grid(title=title, note=note, heads=heads, rows=tuple(rows))


def _told(found: Sequence[UpdateCredit], name: str, key: str) -> str:
    return _number(mean([one.credit[name].diagnostics.get(key) for one in found]))


def _span(found: Sequence[UpdateCredit]) -> str:
    return str(found[0].update) if len(found) == 1 else f"{found[0].update} to {found[-1].update} ({len(found)})"


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return NOTHING if value is None or math.isnan(value) else f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
