"""The bench as one table that fits a terminal: an estimator's numbers in per cent, a column for each world."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainer.lab.measure.jackknife import interval
from trainer.lab.measure.truth import TruthComparison
from trainer.lab.report.interval import with_interval
from trainer.report.grid import MISSING, PLUS_MINUS, Grid

BEST = "*"
"""Marks the best of a world, and those that its layouts do not tell from the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One number of the bench."""

    title: str
    """What the table calls it."""

    field: str
    """The field of `TruthComparison` that holds it."""

    low: bool = False
    """Whether less is better."""

    root: bool = False
    """Whether the square root is shown."""

    def of(self, entry: TruthComparison) -> float:
        value = getattr(entry, self.field).value
        return math.sqrt(max(value, 0.0)) if self.root else value


PARTS = (
    Part(title="cosine", field="alignment"),
    Part(title="mean cosine", field="mean_cosine"),
    Part(title="error", field="error", low=True, root=True),
    Part(title="rank", field="rank"),
    Part(title="sign", field="sign"),
    Part(title="leakage", field="leakage", low=True),
)
DETAILS = {"gradient error": "gradient_error", "gradient variance": "gradient_variance"} | {
    part.title: part.field for part in PARTS
}
"""What the tables with intervals show, by the field of `TruthComparison`."""


def bench_grids(comparisons: Sequence[TruthComparison]) -> Iterator[Grid]:
    """One table for each group size."""
    for size in dict.fromkeys(entry.size for entry in comparisons):
        yield _bench([entry for entry in comparisons if entry.size == size])


def detail_grids(comparisons: Sequence[TruthComparison]) -> Iterator[Grid]:
    """For each group size and number, a table with intervals."""
    several = [entry for entry in comparisons if entry.layouts]
    for size in dict.fromkeys(entry.size for entry in several):
        of_size = [entry for entry in several if entry.size == size]
        worlds, names = _worlds(of_size), _names(of_size)
        by_place = {(entry.world, entry.estimator): entry for entry in of_size}
        for title, field in DETAILS.items():
            rows = ((name, *(_detail(by_place.get((world, name)), field) for world in worlds)) for name in names)
            note = f"groups of {size}; {PLUS_MINUS} 95 % over {len(of_size[0].layouts)} layouts and policies"
            yield Grid(title=f"{title[0].upper()}{title[1:]}", note=note, heads=("", *worlds), rows=tuple(rows))


def _bench(comparisons: Sequence[TruthComparison]) -> Grid:
    worlds, names = _worlds(comparisons), _names(comparisons)
    rows: list[tuple[str, ...]] = []
    for part in PARTS:
        columns = [_column(part, [entry for entry in comparisons if entry.world == world]) for world in worlds]
        rows.append((part.title,))
        for name in names:
            cells = [column.get(name, (math.nan, MISSING)) for column in columns]
            rows.append((name, *(text for _, text in cells), _mean([value for value, _ in cells])))
    size, layouts = comparisons[0].size, len(comparisons[0].layouts)
    note = (
        f"per cent, mean over {layouts} layouts and policies of each world; error: square root, 100 without credit; "
        f"{BEST} the best, and what the layouts do not tell from it"
    )
    return Grid(title=f"Bench, groups of {size}", note=note, gap=1, heads=("", *worlds, "mean"), rows=tuple(rows))


def _column(part: Part, entries: Sequence[TruthComparison]) -> dict[str, tuple[float, str]]:
    """(value, cell) of each estimator in one world."""
    values = {entry.estimator: part.of(entry) for entry in entries}
    numbers = {name: value for name, value in values.items() if not math.isnan(value)}
    if not numbers:
        return {name: (value, MISSING) for name, value in values.items()}
    of_layouts = {entry.estimator: [part.of(layout) for layout in entry.layouts] for entry in entries}
    best = of_layouts[(min if part.low else max)(numbers, key=numbers.__getitem__)]
    return {
        name: (value, f"{100 * value:.0f}{BEST if _as_good(of_layouts[name], best) else ''}")
        if name in numbers
        else (value, MISSING)
        for name, value in values.items()
    }


def _as_good(values: Sequence[float], best: Sequence[float]) -> bool:
    """Whether the layouts do not tell these values from the best: 0 lies in the interval of their difference."""
    difference = interval([value - other for value, other in zip(values, best, strict=True)])
    return not abs(difference.value) > difference.half


def _detail(entry: TruthComparison | None, field: str) -> str:
    return MISSING if entry is None else with_interval(getattr(entry, field))


def _mean(values: Sequence[float]) -> str:
    """Of the worlds in which the estimator has the number."""
    there = [value for value in values if not math.isnan(value)]
    return f"{100 * sum(there) / len(there):.0f}" if there else MISSING


def _worlds(comparisons: Sequence[TruthComparison]) -> list[str]:
    return list(dict.fromkeys(entry.world for entry in comparisons))


def _names(comparisons: Sequence[TruthComparison]) -> list[str]:
    return list(dict.fromkeys(entry.estimator for entry in comparisons))
