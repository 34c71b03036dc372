"""What the lab measured as tables of text: the same cells for the terminal, for Markdown and for the page."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from trainer.lab.measure.estimated import AgainstEstimate, mean_interval
from trainer.lab.measure.recorded import UpdateCredit
from trainer.lab.measure.truth import TruthComparison
from trainer.lab.report.bench import bench_grids
from trainer.lab.report.interval import with_interval
from trainer.report.grid import MISSING, PLUS_MINUS, Grid

STATISTICS = ("zero", "between_groups", "between_rollouts", "within_rollouts", "effective")
CLUSTERS = ("singleton_share", "cluster_size_mean", "cluster_size_p90", "pairs", "largest_cluster_share")
BRANCHES = ("share_contrast", "share_no_contrast", "share_singleton")
PARTS = {"error": "error", "bias": "bias", "variance": "variance", "cosine": "alignment"}
"""What a table of the truth shows, by the field of `TruthComparison` that holds it."""

ESTIMATED = {"correlation": "correlation", "minus first": "lead", "right sign": "sign", "right blame": "blame"}
"""What a table of estimated advantages shows, by the field of `AgainstEstimate` that holds it."""

TRUTH_NOTE = f"error = bias + variance, in units of E A^2; {PLUS_MINUS} 95 %"


def recorded_grids(updates: Sequence[UpdateCredit]) -> Iterator[Grid]:
    """Means over the updates, each counted once; tables of pairs where every pair was compared."""
    if not updates:
        return
    names = tuple(updates[0].credit)
    yield from _estimated(updates, names)
    yield _statistics(updates, names)
    if len(names) > 1 and updates[0].pairs:
        yield _pairs(updates, names, "Rank correlation", "Spearman's, over rows of an update", lambda pair: pair.rank)
        note = "of the rows that both give credit to, how many get the same sign"
        yield _pairs(updates, names, "Sign agreement", note, lambda pair: pair.sign)
    yield from _diagnostics(updates, names)


def truth_grids(comparisons: Sequence[TruthComparison]) -> Iterator[Grid]:
    """Tables of the distance from the truth, with a row for each estimator.

    - Several group sizes: a table for each world, with a column for each group size.
    - One group size, several worlds: one table, with a column for each world.
    - One group size, one world: one table, with the columns error, bias, variance and cosine.
    - Worlds of several layouts: the tables of `bench`.
    """
    several = [entry for entry in comparisons if entry.layouts]
    yield from bench_grids(several)
    comparisons = [entry for entry in comparisons if not entry.layouts]
    worlds = list(dict.fromkeys(comparison.world for comparison in comparisons))
    sizes = list(dict.fromkeys(comparison.size for comparison in comparisons))
    if len(sizes) == 1 and len(worlds) == 1:
        yield _numbers_side_by_side(comparisons)
    elif len(sizes) == 1 and worlds:
        columns = {world: [entry for entry in comparisons if entry.world == world] for world in worlds}
        yield _against_truth(f"Against the true advantage, groups of {sizes[0]}", "world", "", columns)
    else:
        for world in worlds:
            of_world = [entry for entry in comparisons if entry.world == world]
            columns = {str(size): [entry for entry in of_world if entry.size == size] for size in sizes}
            yield _against_truth(f"Against the true advantage: {world}", "group size", "groups of", columns)


def _against_truth(title: str, by: str, head: str, columns: Mapping[str, Sequence[TruthComparison]]) -> Grid:
    """A part for each number, a row for each estimator, a column for each entry of `columns`."""
    rows: list[tuple[str, ...]] = []
    names = dict.fromkeys(entry.estimator for entries in columns.values() for entry in entries)
    by_name = [{entry.estimator: entry for entry in entries} for entries in columns.values()]
    for part, field in PARTS.items():
        rows.append((part,))
        for name in names:
            cells = (with_interval(getattr(of[name], field)) if name in of else MISSING for of in by_name)
            rows.append((name, *cells))
    return Grid(title=title, note=f"by {by}; {TRUTH_NOTE}", heads=(head, *columns), rows=tuple(rows))


def _numbers_side_by_side(comparisons: Sequence[TruthComparison]) -> Grid:
    """One world at one group size: a row for each estimator, a column for each number."""
    world, size = comparisons[0].world, comparisons[0].size
    return Grid(
        title=f"Against the true advantage: {world}, groups of {size}",
        note=TRUTH_NOTE,
        heads=("", *PARTS),
        rows=tuple(
            (entry.estimator, *(with_interval(getattr(entry, field)) for field in PARTS.values()))
            for entry in comparisons
        ),
    )


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are not None; None if there are none."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _statistics(updates: Sequence[UpdateCredit], names: Sequence[str]) -> Grid:
    def row(name: str) -> tuple[str, ...]:
        credit = [update.credit[name] for update in updates]
        shares = (mean([getattr(entry.statistics, field) for entry in credit]) for field in STATISTICS)
        return (name, *map(_percent, shares), _number(mean([entry.ms for entry in credit])))

    rows, success = sum(update.rows for update in updates), mean([update.success for update in updates])
    singleton_states = mean([update.states.singleton_states for update in updates])
    singleton_rows = mean([update.states.singleton_rows for update in updates])
    return Grid(
        title="Credit on recorded rollouts",
        note=f"updates {_span(updates)}: {rows} rows, {_percent(success)} of the rollouts solved their task; "
        f"{_percent(singleton_states)} of the states were seen once, {_percent(singleton_rows)} of the rows",
        heads=("", "no credit", "between groups", "between rollouts", "within rollouts", "effective rows", "ms a call"),
        rows=tuple(map(row, names)),
    )


def _estimated(updates: Sequence[UpdateCredit], names: Sequence[str]) -> Iterator[Grid]:
    """Against the true advantages, over the updates that have them estimated."""
    known = [update for update in updates if update.certain is not None]
    if not known:
        return
    by_name = {name: [truth for update in known if (truth := update.credit[name].truth)] for name in names}
    certain = mean([update.certain for update in known])

    def cell(truths: Sequence[AgainstEstimate], field: str) -> str:
        numbers = [number for truth in truths if (number := getattr(truth, field)) is not None]
        return with_interval(mean_interval(numbers))

    yield Grid(
        title="Against the estimated true advantage",
        note=f"updates {_span(known)}: {_percent(certain)} of the rows are certain to differ from 0; right signs, among"
        f" these; {PLUS_MINUS} 95 % over groups",
        heads=("", *ESTIMATED),
        rows=tuple((name, *(cell(truths, field) for field in ESTIMATED.values())) for name, truths in by_name.items()),
    )


def _pairs(
    updates: Sequence[UpdateCredit], names: Sequence[str], title: str, note: str, number: Callable[..., float | None]
) -> Grid:
    def cell(first: str, second: str) -> str:
        if first == second:
            return ""
        pair = (first, second) if (first, second) in updates[0].pairs else (second, first)
        return _number(mean([number(update.pairs[pair]) for update in updates]))

    rows = tuple((first, *(cell(first, second) for second in names)) for first in names)
    return Grid(title=title, note=note, heads=("", *names), rows=rows)


def _diagnostics(updates: Sequence[UpdateCredit], names: Sequence[str]) -> Iterator[Grid]:
    """The estimators' own numbers: clusters, branches, and the rest."""
    keys_of = {name: list(updates[0].credit[name].diagnostics) for name in names}
    all_keys = dict.fromkeys(key for keys in keys_of.values() for key in keys)
    rest = [key for key in all_keys if key not in (*CLUSTERS, *BRANCHES)]
    for title, note, keys in (
        ("Clusters", "rows of one group that count as taken in the same state", CLUSTERS),
        ("Branches", "share of the rows held against other actions, the same action alone, nothing", BRANCHES),
        ("Other diagnostics", "see docs/estimators.md", rest),
    ):
        reporting = [name for name in names if set(keys) & set(keys_of[name])]
        if reporting:
            rows = tuple((name, *(_diagnostic(updates, name, key) for key in keys)) for name in reporting)
            heads = ("", *(key.replace("_", " ") for key in keys))
            yield Grid(title=title, note=note, heads=heads, rows=rows)


def _diagnostic(updates: Sequence[UpdateCredit], name: str, key: str) -> str:
    return _number(mean([update.credit[name].diagnostics.get(key) for update in updates]))


def _span(updates: Sequence[UpdateCredit]) -> str:
    first, last = updates[0].update, updates[-1].update
    return str(first) if len(updates) == 1 else f"{first} to {last} ({len(updates)})"


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return MISSING if value is None or math.isnan(value) else f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
