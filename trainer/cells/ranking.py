"""Which settings of a sweep are best. Cells that differ by their seed alone are one row, with its spread over seeds."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from trainer.cells.cell import DONE, FOLDER, State, key_of
from trainer.cells.index import JSON
from trainer.cells.search import logged_values
from trainer.config.build import ConfigError
from trainer.report.metric_rows import METRICS

SEED = "seed"
LEVEL = 0.95  # of intervals


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One cell that has a number."""

    settings: Mapping[str, str]
    """Its varied settings without the seed, by name."""
    number: float
    """The last value of the metric."""
    pruned: bool
    """Whether the search ended it early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The cells that differ by their seed alone."""

    settings: Mapping[str, str]
    """Their varied settings, by name."""
    numbers: tuple[float, ...]
    """One for each seed."""
    pruned: bool
    """Whether the search ended one of them early, so that its number is of an earlier update."""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """The least and the largest value that the number can have."""

    @property
    def label(self) -> str:
        """The settings as words."""
        return " ".join(f"{name}={value}" for name, value in self.settings.items()) or "all settings alike"

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.numbers))

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds, with n - 1; None for one seed."""
        return float(np.std(self.numbers, ddof=1)) if len(self.numbers) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean over seeds (Student's t), within the bounds; None for one seed, or equal numbers.

        Numbers that are equal tell nothing of their spread. What lies beyond the bounds cannot be the mean: the rest
        covers it as often as the whole does.
        """
        if self.deviation is None or np.ptp(self.numbers) == 0:
            return None
        count = len(self.numbers)
        half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * self.deviation / count**0.5
        low, high = self.bounds
        return max(low, self.mean - half), min(high, self.mean + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """A sweep's cells, the best settings first."""

    metric: str
    """What they are ranked by."""
    rows: tuple[Row, ...]
    """The best first."""
    effects: Mapping[str, Mapping[str, tuple[float, ...]]]
    """By setting and by its value, the numbers of the cells that have it and ran to their end: a cell that was pruned
    tells of another update. Settings with one value are left out."""
    left_out: Mapping[str, int]
    """Cells without a number, by reason."""


def rank(folder: Path, *, metric: str, maximize: bool, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Ranking:
    """Read the cells of a sweep's folder. bounds: of the metric.

    Raises ConfigError for a folder without a sweep, or without one number.
    """
    cells = _read(folder)
    varied = _varied([cell["words"] for cell in cells])
    results, left_out = list[Result](), dict[str, int]()
    for cell in cells:
        values = logged_values(folder / FOLDER / cell["digest"] / METRICS, metric)
        state = cell["state"]
        if state in DONE and values:
            settings = {key_of(word): _value(word) for word in cell["words"] if key_of(word) in varied}
            settings.pop(SEED, None)
            number = values[max(values)]
            results.append(Result(settings=settings, number=number, pruned=state == State.PRUNED))
        else:
            reason = f"without {metric}" if state == State.FINISHED else str(state)
            left_out[reason] = left_out.get(reason, 0) + 1
    if not results:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "it has none"
        raise ConfigError(
            f"no cell of {folder} has {metric} in its {METRICS} ({reasons}): name another number by metric=..."
        )
    sign = -1 if maximize else 1
    rows = sorted(_rows(results, bounds), key=lambda row: (math.isnan(row.mean), sign * row.mean))  # without NaN first
    whole = [result for result in results if not result.pruned]
    return Ranking(metric=metric, rows=tuple(rows), effects=_effects(whole), left_out=left_out)


def _read(folder: Path) -> list[dict]:
    try:
        cells = json.loads((folder / JSON).read_text())
        return [{"digest": cell["digest"], "words": cell["words"], "state": State(cell["state"])} for cell in cells]
    except FileNotFoundError:
        raise ConfigError(f"{folder} holds no sweep (it has no {JSON}): name the folder that the sweep named") from None
    except NotADirectoryError:
        raise ConfigError(f"{folder} is a file: name the folder of the sweep, such as {folder.parent}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder / JSON} is broken ({error!r}): go on with the sweep, which writes it anew"
        ) from error


def _varied(cells: Sequence[Sequence[str]]) -> set[str]:
    """The settings in which cells differ, and the seed."""
    common = set.intersection(*(set(words) for words in cells)) if cells else set[str]()
    return {key_of(word) for words in cells for word in words if word not in common} | {SEED}


def _value(word: str) -> str:
    return word.partition("=")[2]


def _rows(results: Sequence[Result], bounds: tuple[float, float]) -> Iterator[Row]:
    groups = dict[tuple[tuple[str, str], ...], list[Result]]()
    for result in results:
        groups.setdefault(tuple(result.settings.items()), []).append(result)
    for settings, group in groups.items():
        numbers = tuple(result.number for result in group)
        pruned = any(result.pruned for result in group)
        yield Row(settings=dict(settings), numbers=numbers, pruned=pruned, bounds=bounds)


def _effects(results: Sequence[Result]) -> dict[str, dict[str, tuple[float, ...]]]:
    effects = dict[str, dict[str, tuple[float, ...]]]()
    for name in dict.fromkeys(name for result in results for name in result.settings):
        values = sorted({result.settings[name] for result in results if name in result.settings}, key=_order)
        if len(values) > 1:
            effects[name] = {
                value: tuple(result.number for result in results if result.settings.get(name) == value)
                for value in values
            }
    return effects


def _order(value: str) -> tuple[int, float, str]:
    """Numbers by their size, then words."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value
