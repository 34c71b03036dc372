"""The lab's pictures: error against the true advantage by group size, and how credit changes over a run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from trainer.lab.measure.jackknife import ConfidenceInterval
from trainer.lab.measure.truth import TruthComparison
from trainer.report.charts import CYCLE, LIGHT, plain

DASHED = (0, (2.6, 1.4))
DECADE = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
SMALLEST = 0.05  # the lowest value of a logarithmic axis
WIDTH, HEIGHT = 2.35, 1.75  # inches of one panel
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
    """Whether the vertical axis is logarithmic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one estimator's curve is drawn."""

    color: str
    """A colour of `charts.CYCLE`."""

    dashed: bool
    """Dashed curves lie above solid ones."""

    @property
    def options(self) -> dict[str, Any]:
        line = DASHED if self.dashed else "solid"
        return {"color": self.color, "linestyle": line, "linewidth": 1.5, "zorder": 3 if self.dashed else 2}


LINES = (
    Line(title="mean squared error", field="error", logarithmic=True),
    Line(title="bias", field="bias"),
    Line(title="variance", field="variance", logarithmic=True),
    Line(title="cosine to the true gradient", field="alignment"),
)


def truth_figure(comparisons: Sequence[TruthComparison], lines: Sequence[Line] = LINES) -> Figure:
    """Worlds side by side, a row of panels for each number, one curve for each estimator over the group sizes."""
    worlds = list(dict.fromkeys(entry.world for entry in comparisons))
    names = list(dict.fromkeys(entry.estimator for entry in comparisons))
    width = 0.5 + WIDTH * len(worlds)
    columns = _legend_columns(names, width, most=7)
    height = 0.5 + HEIGHT * len(lines) + _extra_height(names, columns)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(len(lines), len(worlds), sharex=True, sharey="row", squeeze=False)
    styles = dict(zip(names, _styles(), strict=False))
    for line, row in zip(lines, grid, strict=True):
        for world, axes in zip(worlds, row, strict=True):
            plain(axes)
            if line.field == "error":
                axes.axhline(1.0, color=LIGHT["muted"], linewidth=0.9)
            for name in names:
                curve = [entry for entry in comparisons if (entry.world, entry.estimator) == (world, name)]
                values = [getattr(entry, line.field) for entry in curve]
                _curve(axes, [entry.size for entry in curve], values, styles[name])
            _set_scale(axes, line, [getattr(entry, line.field).value for entry in comparisons])
        if line.field == "error":
            row[0].annotate("no credit at all", (0.02, 1.0), (0, -3), xycoords=("axes fraction", "data"), va="top",
                            textcoords="offset points", color=LIGHT["muted"], fontsize=7.5)  # fmt: skip
        row[0].set_ylabel(line.title, color=LIGHT["ink"], fontsize=8.5)
    for world, axes in zip(worlds, grid[0], strict=True):
        axes.set_title(world, loc="left", color=LIGHT["ink"], fontsize=9)
    for axes in grid[-1]:
        _set_sizes(axes, sorted({entry.size for entry in comparisons}))
    handles = [grid[0][0].plot([], [], label=name, **style.options)[0] for name, style in styles.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=8.5,
                  handlelength=1.8, labelcolor=LIGHT["ink"], borderpad=0, columnspacing=1.4)  # fmt: skip
    return figure


def over_updates(updates: Sequence[int], series: Mapping[str, Sequence[float | None]]) -> Figure:
    """One line for each name, with a gap where an update has no such number."""
    columns = _legend_columns(list(series), 4.4, most=3)
    figure = Figure(figsize=(4.4, 2.3 + _extra_height(list(series), columns)), layout="constrained")
    axes = figure.subplots()
    plain(axes)
    for (name, values), style in zip(series.items(), _styles(), strict=False):
        heights = np.array([np.nan if value is None else value for value in values])
        axes.plot(updates, heights, marker="o", markersize=2.5, label=name, **style.options)
    axes.set_xlabel("update", loc="right", color=LIGHT["muted"], fontsize=8)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    figure.legend(loc="outside upper left", ncols=columns, frameon=False, fontsize=8, labelcolor=LIGHT["ink"],
                  borderpad=0)  # fmt: skip
    return figure


def stacked_bars(parts: Mapping[str, Sequence[float]], names: Sequence[str]) -> Figure:
    """One bar for each name, divided into parts that sum to 1."""
    figure = Figure(figsize=(4.4, 0.6 + 0.28 * len(names)), layout="constrained")
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


def _styles() -> Iterator[Style]:
    """Every other curve is dashed and lies above the others, so that both of two equal curves can be seen."""
    return (Style(color=color, dashed=number % 2 == 1) for number, color in enumerate(cycle(CYCLE)))


def _legend_columns(names: Sequence[str], width: float, *, most: int) -> int:
    """As many columns of a legend as fit `width` inches, `most` at most and one at least."""
    entry = (LETTER * max(map(len, names), default=0) + 4.0) * 8.5 * POINT  # with its line and the gaps
    return max(1, min(most, int(width / entry)))


def _extra_height(names: Sequence[str], columns: int) -> float:
    """Inches that the rows of a legend after the first need."""
    rows = -(-len(names) // columns)
    return 0.18 * max(0, rows - 1)


def _curve(axes: Axes, sizes: Sequence[int], values: Sequence[ConfidenceInterval], style: Style) -> None:
    middle, half = (np.array([getattr(value, part) for value in values]) for part in ("value", "half"))
    axes.fill_between(sizes, middle - half, middle + half, color=style.color, alpha=0.16, linewidth=0)
    axes.plot(sizes, middle, marker="o", markersize=2.5, **style.options)


def _set_scale(axes: Axes, line: Line, values: Sequence[float]) -> None:
    """The scale of one row of panels, from the values of all its curves; intervals may reach beyond it."""
    finite = [value for value in values if np.isfinite(value)]
    if not line.logarithmic:
        axes.set_ylim(min([0.0, *finite]), 1.0)
        return
    if not finite:
        return
    low, high = max(SMALLEST, 0.8 * min(finite)), 1.25 * max(finite)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in DECADE if low <= tick <= high]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _set_sizes(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel("rollouts in a group", loc="right", color=LIGHT["muted"], fontsize=8)
