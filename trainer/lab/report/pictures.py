"""The lab's pictures: error against the true advantage by group size, and how credit changes over a run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from trainer.lab.measure.jackknife import ConfidenceInterval
from trainer.lab.measure.truth import TruthComparison
from trainer.report.charts import CYCLE, LIGHT, plain

DASHES: tuple[Any, ...] = ("solid", (0, (2.6, 1.4)), (0, (1.0, 1.2)), (0, (4.5, 1.2, 1.0, 1.2)))
MARKERS = ("o", "s", "^", "D")
DECADE = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
SMALLEST = 0.05  # the lowest value of a logarithmic axis
WIDTH, HEIGHT = 2.35, 1.75  # inches of one panel
ABREAST = 4  # panels side by side
DOTS, ROW = 1.3, 0.17  # inches: the width of a panel of dots, the height of an estimator in it
POINT = 1 / 72  # inches
LETTER = 0.62  # mean width of a letter, in units of the font size


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of panels."""

    title: str
    """What the row shows, in words."""

    field: str
    """The field of `TruthComparison` that it shows."""

    logarithmic: bool = False
    """Whether the axis is logarithmic."""

    low: bool = True
    """Whether less is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one estimator's curve is drawn: no two of the first twenty are alike."""

    color: str
    """A colour of `charts.CYCLE`."""

    pattern: int
    """Number of its dashes and of its marker. Broken curves lie above solid ones."""

    @property
    def options(self) -> dict[str, Any]:
        return {
            "color": self.color,
            "linestyle": DASHES[self.pattern],
            "marker": MARKERS[self.pattern],
            "markersize": 2.8,
            "linewidth": 1.5,
            "zorder": 2 + self.pattern,
        }


LINES = (
    Line(title="mean squared error", field="error", logarithmic=True),
    Line(title="bias", field="bias"),
    Line(title="variance", field="variance", logarithmic=True),
    Line(title="cosine to the true gradient", field="alignment", low=False),
)


def truth_figure(comparisons: Sequence[TruthComparison], lines: Sequence[Line] = LINES) -> Figure:
    """Dots for one group size, curves for several."""
    one = len({entry.size for entry in comparisons}) == 1
    return dots(comparisons, lines) if one else curves(comparisons, lines)


def dots(comparisons: Sequence[TruthComparison], lines: Sequence[Line] = LINES) -> Figure:
    """One group size: worlds side by side, a row of panels for each number, and in each a dot for each estimator.

    The estimators stand below each other, so that no dot hides another and none needs a colour; the best is dark.
    """
    worlds, names = _worlds(comparisons), _names(comparisons)
    label = (LETTER * max(map(len, names)) + 1.0) * 8.0 * POINT
    height = len(lines) * (ROW * len(names) + 0.55)
    figure = Figure(figsize=(0.2 + label + DOTS * len(worlds), height), layout="constrained")
    grid = figure.subplots(len(lines), len(worlds), sharex="row", sharey=True, squeeze=False)
    places = dict(zip(names, range(len(names)), strict=True))
    for line, row in zip(lines, grid, strict=True):
        for world, axes in zip(worlds, row, strict=True):
            _dots(axes, line, [entry for entry in comparisons if entry.world == world], places)
            axes.set_title(world, loc="left", color=LIGHT["muted"], fontsize=8)
        _set_scale(row[0], line, [getattr(entry, line.field).value for entry in comparisons], axis="x")
        row[0].set_yticks(range(len(names)), names)
        row[0].set_ylim(len(names) - 0.4, -0.6)
        row[0].tick_params(axis="y", labelcolor=LIGHT["ink"], labelsize=8)
        row[0].set_ylabel(line.title, color=LIGHT["ink"], fontsize=9)
    return figure


def _dots(axes: Axes, line: Line, entries: Sequence[TruthComparison], places: Mapping[str, int]) -> None:
    """One world's dots with their intervals."""
    plain(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=LIGHT["rule"], linewidth=0.7)
    numbers = {entry.estimator: getattr(entry, line.field) for entry in entries}
    points = {name: number.value for name, number in numbers.items() if np.isfinite(number.value)}
    best = (min if line.low else max)(points, key=points.__getitem__, default=None)
    if line.field == "error":
        axes.axvline(1.0, color=LIGHT["muted"], linewidth=0.9)
    for name, value in points.items():
        color = LIGHT["c3"] if name == best else LIGHT["c1"]
        half = numbers[name].half if np.isfinite(numbers[name].half) else 0.0
        axes.plot([value - half, value + half], [places[name]] * 2, color=color, linewidth=1.4, alpha=0.45)
        axes.plot([value], [places[name]], "o", color=color, markersize=3.6)


def curves(comparisons: Sequence[TruthComparison], lines: Sequence[Line] = LINES) -> Figure:
    """Several group sizes: worlds side by side, a row of panels for each number, and in each a curve per estimator.

    More than four worlds are continued below.
    """
    worlds, names = _worlds(comparisons), _names(comparisons)
    bands = [worlds[start : start + ABREAST] for start in range(0, len(worlds), ABREAST)]
    width = max(0.5 + WIDTH * len(bands[0]), entry_width(names) + 0.2)
    columns = legend_columns(names, width, most=7)
    height = 0.5 + HEIGHT * len(lines) * len(bands) + extra_height(names, columns)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(len(lines) * len(bands), len(bands[0]), sharex=True, squeeze=False)
    by_name = dict(zip(names, styles(), strict=False))
    for number, row in enumerate(grid):
        band, line = bands[number // len(lines)], lines[number % len(lines)]
        for axes in row[len(band) :]:
            axes.set_axis_off()
        for world, axes in zip(band, row, strict=False):
            _curves(axes, line, [entry for entry in comparisons if entry.world == world], by_name)
            _set_scale(axes, line, [getattr(entry, line.field).value for entry in comparisons])
            axes.tick_params(labelleft=axes is row[0])
            if line is lines[0]:
                axes.set_title(world, loc="left", color=LIGHT["ink"], fontsize=9)
            if line is lines[-1]:
                _set_sizes(axes, sorted({entry.size for entry in comparisons}))
        if line.field == "error":
            style = {"va": "top", "color": LIGHT["muted"], "fontsize": 7.5, "annotation_clip": True}
            note = row[0].annotate("no credit at all", (0.02, 1.0), (0, -3), xycoords=("axes fraction", "data"),
                                   textcoords="offset points", **style)  # fmt: skip
            note.set_in_layout(False)
        row[0].set_ylabel(line.title, color=LIGHT["ink"], fontsize=8.5)
    handles = [grid[0][0].plot([], [], label=name, **style.options)[0] for name, style in by_name.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=8.5,
                  handlelength=2.6, labelcolor=LIGHT["ink"], borderpad=0, columnspacing=1.4)  # fmt: skip
    return figure


def _curves(axes: Axes, line: Line, entries: Sequence[TruthComparison], styles: Mapping[str, Style]) -> None:
    """One world's curves with their bands."""
    plain(axes)
    if line.field == "error":
        axes.axhline(1.0, color=LIGHT["muted"], linewidth=0.9)
    for name, style in styles.items():
        of_name = [entry for entry in entries if entry.estimator == name]
        _curve(axes, [entry.size for entry in of_name], [getattr(entry, line.field) for entry in of_name], style)


def over_updates(updates: Sequence[int], series: Mapping[str, Sequence[float | None]]) -> Figure:
    """One line for each name, with a gap where an update has no such number."""
    names = list(series)
    width = max(4.4, entry_width(names) + 0.2)
    columns = legend_columns(names, width, most=3)
    figure = Figure(figsize=(width, 2.3 + extra_height(names, columns)), layout="constrained")
    axes = figure.subplots()
    plain(axes)
    for (name, values), style in zip(series.items(), styles(), strict=False):
        heights = np.array([np.nan if value is None else value for value in values])
        axes.plot(updates, heights, label=name, **style.options)
    axes.set_xlabel("update", loc="right", color=LIGHT["muted"], fontsize=8)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    figure.legend(loc="outside upper left", ncols=columns, frameon=False, fontsize=8, labelcolor=LIGHT["ink"],
                  borderpad=0)  # fmt: skip
    return figure


def stacked_bars(parts: Mapping[str, Sequence[float]], names: Sequence[str]) -> Figure:
    """One bar for each name, divided into parts that sum to 1."""
    labels = LETTER * max(map(len, names)) * 8.0 * POINT
    figure = Figure(figsize=(3.4 + labels, 0.6 + 0.28 * len(names)), layout="constrained")
    axes = figure.subplots()
    plain(axes)
    axes.grid(visible=False)
    left, places = np.zeros(len(names)), np.arange(len(names))[::-1]
    for (label, shares), color in zip(parts.items(), CYCLE, strict=False):
        axes.barh(places, shares, left=left, color=color, label=label, height=0.62)
        left += np.asarray(shares)
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
    axes.set_xlim(0.0, 1.0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8, labelcolor=LIGHT["ink"], borderpad=0)
    return figure


def _worlds(comparisons: Sequence[TruthComparison]) -> list[str]:
    return list(dict.fromkeys(entry.world for entry in comparisons))


def _names(comparisons: Sequence[TruthComparison]) -> list[str]:
    return list(dict.fromkeys(entry.estimator for entry in comparisons))


def styles() -> Iterator[Style]:
    """Neighbours differ in colour and in dashes, so that both of two equal curves can be seen."""
    for number, color in enumerate(cycle(CYCLE)):
        yield Style(color=color, pattern=(number % len(CYCLE) + number // len(CYCLE)) % len(DASHES))


def entry_width(names: Sequence[str]) -> float:
    """Inches of a legend's widest entry, with its line and the gaps."""
    return (LETTER * max(map(len, names), default=0) + 5.0) * 8.5 * POINT


def legend_columns(names: Sequence[str], width: float, *, most: int) -> int:
    """As many columns of a legend as fit `width` inches, `most` at most and one at least."""
    return max(1, min(most, int(width / entry_width(names))))


def extra_height(names: Sequence[str], columns: int) -> float:
    """Inches that the rows of a legend after the first need."""
    rows = -(-len(names) // columns)
    return 0.18 * max(0, rows - 1)


def _curve(axes: Axes, sizes: Sequence[int], values: Sequence[ConfidenceInterval], style: Style) -> None:
    middle, half = (np.array([getattr(value, part) for value in values]) for part in ("value", "half"))
    axes.fill_between(sizes, middle - half, middle + half, color=style.color, alpha=0.16, linewidth=0)
    axes.plot(sizes, middle, **style.options)


def _set_scale(axes: Axes, line: Line, values: Sequence[float], axis: Literal["x", "y"] = "y") -> None:
    """The scale of one row of panels, from the values of all its curves; intervals may reach beyond it."""
    finite = [value for value in values if np.isfinite(value)]
    if not line.logarithmic:
        axes.set(**{f"{axis}lim": (min([0.0, *finite]), 1.0)})
        return
    if not finite:
        return
    low, high = max(SMALLEST, 0.8 * min(finite)), 1.25 * max(finite)
    axes.set(**{f"{axis}scale": "log", f"{axis}lim": (low, high)})
    ticks = [tick for tick in DECADE if low <= tick <= high]
    along = axes.xaxis if axis == "x" else axes.yaxis
    along.set_major_locator(FixedLocator(ticks if axis == "y" else ticks[:: 1 + len(ticks) // 5]))
    along.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    along.set_minor_formatter(NullFormatter())


def _set_sizes(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel("rollouts in a group", loc="right", color=LIGHT["muted"], fontsize=8)
