"""The numbers of a table from its finished runs, and the footnotes that they must be read with."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.setup.conditions import panel_line
from trainer.tables.bootstrap import Estimate, estimate, paired
from trainer.tables.config import Published, Row, TableSpec
from trainer.tables.runs import Run, task_matrix

REACHED = (0.5, 0.8, 0.9, 0.95)
"""Success whose first update is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One measure of one row, in [0, 1]."""

    last: Estimate
    """At the last validation."""
    best: Estimate
    """At each run's best validation, by the table's first column ("val@max")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """When a row's success first reaches a level."""

    level: float
    """In [0, 1]."""
    updates: tuple[int | None, ...]
    """Of each seed; None where no validation reaches it."""

    @property
    def median(self) -> float | None:
        """Median of the seeds that reach it; None without any."""
        updates = [update for update in self.updates if update is not None]
        return statistics.median(updates) if updates else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A row, or the mean of some, less another one at the last validation, seed by seed."""

    other: str
    """Title of the other row."""
    seeds: tuple[int, ...]
    """The seeds that all have."""
    columns: Mapping[str, Estimate]
    """By column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowNumbers:
    """One row."""

    name: str
    """Its short name."""
    title: str
    """Its name in the table."""
    source: str | None
    """Where its published numbers stand."""
    seeds: tuple[int, ...]
    """Seeds whose run is finished."""
    planned: int
    """Seeds that there will be."""
    columns: Mapping[str, Column]
    """By the table's columns; empty without a finished run."""
    published: Mapping[str, Published]
    """The paper's numbers, also of a row without runs."""
    curve: Mapping[int, tuple[float, ...]]
    """Update -> the first column's value of each seed that was validated there."""
    best_updates: tuple[int, ...]
    """The update of each seed's best validation."""
    above: Difference | None
    """Against the row above."""
    baseline: Difference | None
    """Against the table's baseline."""
    reached: tuple[Reach, ...]
    """Updates to each level of success."""
    seconds: float | None
    """Mean wall-clock time of a run's updates and validations."""
    tokens: float | None
    """Mean number of response tokens that a run sampled for training."""
    notes: tuple[int, ...]
    """Numbers of the footnotes that hold for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TogetherNumbers:
    """Rows that are compared as one."""

    title: str
    """What they have in common."""
    rows: tuple[str, ...]
    """Their titles."""
    baseline: Difference
    """Their mean against the table's baseline."""

    @property
    def label(self) -> str:
        """Such as "mean of 6 rows: step credit"."""
        return f"mean of {len(self.rows)} rows: {self.title}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableNumbers:
    """A whole table."""

    name: str
    """Its name."""
    title: str
    """Its heading."""
    note: str
    """What the published numbers are of."""
    columns: Mapping[str, str]
    """Column -> measure; the first one leads."""
    rows: tuple[RowNumbers, ...]
    """In their order."""
    footnotes: tuple[str, ...]
    """Numbered from 1."""
    together: tuple[TogetherNumbers, ...]
    """Those with at least two shown rows that share seeds with the baseline."""

    @property
    def lead(self) -> str:
        """The first column."""
        return next(iter(self.columns))


def table_numbers(
    name: str, spec: TableSpec, rows: Sequence[Row], runs: Mapping[str, Mapping[int, Run]], *, planned: int
) -> TableNumbers:
    """The numbers of a table: its columns, differences and costs.

    runs: row -> seed -> its finished run. planned: seeds of each row.
    """
    measures, notes = dict(spec.columns), _Footnotes(rows, runs)
    built, above = list[RowNumbers](), None
    titles = {row.name: row.title for row in spec.rows}
    for row in rows:
        of_row = runs.get(row.name, {})
        base = None if spec.baseline in (None, row.name) else spec.baseline
        built.append(
            _row(
                row,
                of_row,
                measures,
                planned=planned,
                above=_difference([of_row], runs.get(above.name, {}), above.title, measures) if above else None,
                baseline=_difference([of_row], runs.get(base, {}), titles[base], measures) if base else None,
                notes=notes.of(row.name),
            )
        )
        above = row
    return TableNumbers(
        name=name,
        title=spec.title,
        note=spec.note,
        columns=measures,
        rows=tuple(built),
        footnotes=notes.texts,
        together=tuple(_together(spec, rows, runs)),
    )


def _row(
    row: Row,
    runs: Mapping[int, Run],
    measures: Mapping[str, str],
    *,
    planned: int,
    above: Difference | None,
    baseline: Difference | None,
    notes: tuple[int, ...],
) -> RowNumbers:
    published = {column: Published.of(value) for column, value in row.published.items()}
    seeds = tuple(sorted(runs))
    ordered = [runs[seed] for seed in seeds]
    lead = next(iter(measures.values()))
    return RowNumbers(
        name=row.name,
        title=row.title,
        source=row.source,
        seeds=seeds,
        planned=planned,
        columns={
            column: Column(
                last=_last(ordered, measure),
                best=estimate([run.best(lead).values[measure] for run in ordered], None),
            )
            for column, measure in measures.items()
            if ordered and all(measure in one.values for run in ordered for one in run.validations)
        },
        published=published,
        curve=_curve(ordered, lead),
        best_updates=tuple(run.best(lead).update for run in ordered),
        above=above,
        baseline=baseline,
        reached=tuple(
            Reach(level=level, updates=tuple(_first(run, lead, level) for run in ordered)) for level in REACHED
        ),
        seconds=float(np.mean([run.seconds for run in ordered])) if ordered else None,
        tokens=float(np.mean([run.tokens for run in ordered])) if ordered else None,
        notes=notes,
    )


def _last(runs: Sequence[Run], measure: str) -> Estimate:
    values = [run.last.values[measure] for run in runs]
    return estimate(values, task_matrix(runs, measure), tasks=min(run.tasks_of(measure) for run in runs))


def _together(spec: TableSpec, rows: Sequence[Row], runs: Mapping[str, Mapping[int, Run]]) -> Iterator[TogetherNumbers]:
    titles = {row.name: row.title for row in spec.rows}
    for one in spec.together:
        shown = [row for row in rows if row.name in one.rows and runs.get(row.name)]
        if len(shown) < 2 or spec.baseline is None:
            continue
        of_rows, base = [runs[row.name] for row in shown], runs.get(spec.baseline, {})
        difference = _difference(of_rows, base, titles[spec.baseline], spec.columns)
        if difference is not None:
            yield TogetherNumbers(title=one.title, rows=tuple(row.title for row in shown), baseline=difference)


def _difference(
    rows: Sequence[Mapping[int, Run]], other: Mapping[int, Run], title: str, measures: Mapping[str, str]
) -> Difference | None:
    """The mean of rows less another row, of the seeds that all have; None without any."""
    seeds = tuple(sorted(set(other).intersection(*rows)))
    if not seeds:
        return None
    every = [row[seed] for row in (*rows, other) for seed in seeds]
    columns = dict[str, Estimate]()
    for column, measure in measures.items():
        if any(measure not in run.last.values for run in every):
            continue
        by_task = task_matrix(every, measure)
        if by_task is None and all(run.by_task(measure) for run in every):
            continue  # they played other tasks: nothing pairs them
        outcomes = None if by_task is None else _mean_less_last(by_task.reshape(len(rows) + 1, len(seeds), -1))
        values = np.array([run.last.values[measure] for run in every]).reshape(len(rows) + 1, len(seeds))
        columns[column] = paired(_mean_less_last(values), outcomes)
    return Difference(other=title, seeds=seeds, columns=columns)


def _mean_less_last(of_rows: np.ndarray) -> np.ndarray:
    """The mean of all rows but the last, less the last."""
    return of_rows[:-1].mean(0) - of_rows[-1]


def _curve(runs: Sequence[Run], measure: str) -> dict[int, tuple[float, ...]]:
    values = dict[int, list[float]]()
    for run in runs:
        for one in run.validations:
            values.setdefault(one.update, []).append(one.values.get(measure, float("nan")))
    return {update: tuple(of) for update, of in sorted(values.items())}


def _first(run: Run, measure: str, level: float) -> int | None:
    return next((one.update for one in run.validations if one.values.get(measure, 0.0) >= level), None)


class _Footnotes:
    """Collects what differs from row to row and from the protocol, each sentence once."""

    def __init__(self, rows: Sequence[Row], runs: Mapping[str, Mapping[int, Run]]) -> None:
        self._texts = dict[str, int]()
        self._of = {row.name: dict[int, None]() for row in rows}
        every = [run for row in rows for run in runs.get(row.name, {}).values()]
        tell = {
            "panel": _distinct(every, _panel_words),
            "packages": _distinct(every, _package_words),
        }
        starts = _starts_apart([runs.get(row.name, {}) for row in rows])
        for row in rows:
            own = list(runs.get(row.name, {}).values())
            apart = [sentence for seed, sentence in starts.items() if seed in runs.get(row.name, {})]
            for sentence in (*_sentences(row, own, tell), *apart):
                number = self._texts.setdefault(sentence, len(self._texts) + 1)
                self._of[row.name][number] = None

        shown = [self._of[row.name] for row in rows if runs.get(row.name)]
        self._shared = set(self._texts.values()).intersection(*shown) if len(shown) > 1 else set[int]()

    @property
    def texts(self) -> tuple[str, ...]:
        """In the order of their numbers; one that holds for every row with runs says so."""
        return tuple(f"{'All rows. ' if number in self._shared else ''}{text}" for text, number in self._texts.items())

    def of(self, row: str) -> tuple[int, ...]:
        """The numbers of those that hold for this row and not for all."""
        return tuple(number for number in self._of[row] if number not in self._shared)


def _sentences(row: Row, runs: Sequence[Run], tell: Mapping[str, bool]) -> list[str]:
    """Footnotes of one row. tell: whether panels, and packages, differ anywhere in the table."""
    sentences = [f"{row.note[0].upper()}{row.note[1:]}."] if row.note else []
    sentences += [sentence for run in runs for sentence in run.conditions.get("deviations", ())]
    for name, words in (("panel", _panel_words), ("packages", _package_words)):
        if tell[name]:
            sentences += [f"Of other {name} than another row or seed: {words(run)}." for run in runs]
        else:
            sentences += [f"{name.capitalize()}: {words(run)}." for run in runs[:1]]
    if any(run.outcomes is None for run in runs):
        sentences.append(
            "Outcomes by task were not kept: the interval takes all chance of a share for the tasks' own (binomial), "
            "and differences have intervals over seeds alone."
        )
    if len(runs) == 1:
        sentences.append("One seed: no standard deviation, and intervals over tasks alone.")
    return sentences


def _starts_apart(rows: Sequence[Mapping[int, Run]]) -> dict[int, str]:
    """Seed -> the sentence for rows that did not begin from one start: what they solved before their first update."""
    apart = dict[int, str]()
    for seed in sorted({seed for row in rows for seed in row}):
        first = [row[seed].validations[0] for row in rows if seed in row and len(row[seed].validations) > 1]
        shares = sorted({one.values["success"] for one in first if one.update == 0 and "success" in one.values})
        if len(shares) > 1:
            told = " and ".join(f"{100 * share:.1f}" for share in shares)
            apart[seed] = (
                f"Seed {seed}: before any update rows solved {told} %: they began from different starts, or their "
                "sampling does not repeat."
            )
    return apart


def _panel_words(run: Run) -> str:
    return panel_line(dict(run.conditions)) if run.conditions.get("panel") else "no panel was kept"


def _package_words(run: Run) -> str:
    packages: Mapping[str, Any] = run.conditions.get("packages", {})
    return ", ".join(f"{name} {version}" for name, version in packages.items()) or "no versions were kept"


def _distinct(runs: Sequence[Run], words: Callable[[Run], str]) -> bool:
    return len({words(run) for run in runs}) > 1
