"""The lab's pictures: error against the true advantage by group size, and how credit changes over a run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from trainer.lab.measure.truth import Measured, TruthError
from trainer.report.charts import CYCLE, LIGHT, plain

DASHED = (0, (2.6, 1.4))
DECADE = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
SMALLEST = 0.05  # what a logarithmic axis shows at least
WIDTH, HEIGHT = 2.35, 1.75  # inches of one panel


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of panels: what it shows, in words and by a field of `TruthError`."""

    title: str
    field: str
    logarithmic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one estimator's curve is drawn."""

    color: str
    dashed: bool

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


def truth_figure(found: Sequence[TruthError], lines: Sequence[Line] = LINES) -> Figure:
    """Worlds side by side, a line of panels for each number, one curve per estimator over the group sizes."""
    worlds, names = list(dict.fromkeys(e.world for e in found)), list(dict.fromkeys(e.estimator for e in found))
    size = (0.5 + WIDTH * len(worlds), 0.5 + HEIGHT * len(lines))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(lines), len(worlds), sharex=True, sharey="row", squeeze=False)
    styles = dict(zip(names, _styles(), strict=False))
    for line, row in zip(lines, grid, strict=True):
        for world, axes in zip(worlds, row, strict=True):
            plain(axes)
            if line.field == "error":
                axes.axhline(1.0, color=LIGHT["muted"], linewidth=0.9)
            for name in names:
                curve = [one for one in found if (one.world, one.estimator) == (world, name)]
                _curve(axes, [one.size for one in curve], [getattr(one, line.field) for one in curve], styles[name])
            _scaled(axes, line, [getattr(one, line.field).value for one in found])
        if line.field == "error":
            row[0].annotate("no credit at all", (0.02, 1.0), (0, -3), xycoords=("axes fraction", "data"), va="top",
                            textcoords="offset points", color=LIGHT["muted"], fontsize=7.5)  # fmt: skip
        row[0].set_ylabel(line.title, color=LIGHT["ink"], fontsize=8.5)
    for world, axes in zip(worlds, grid[0], strict=True):
        axes.set_title(world, loc="left", color=LIGHT["ink"], fontsize=9)
    for axes in grid[-1]:
        _sized(axes, sorted({one.size for one in found}))
    handles = [grid[0][0].plot([], [], label=name, **style.options)[0] for name, style in styles.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=7, frameon=False, fontsize=8.5, handlelength=1.8,
                  labelcolor=LIGHT["ink"], borderpad=0, columnspacing=1.4)  # fmt: skip
    return figure


def over_updates(updates: Sequence[int], series: Mapping[str, Sequence[float | None]]) -> Figure:
    """One line per name; a gap where an update has no such number."""
    figure = Figure(figsize=(4.4, 2.3), layout="constrained")
    axes = figure.subplots()
    plain(axes)
    for (name, values), style in zip(series.items(), _styles(), strict=False):
        known = np.array([np.nan if value is None else value for value in values])
        axes.plot(updates, known, marker="o", markersize=2.5, label=name, **style.options)
    axes.set_xlabel("update", loc="right", color=LIGHT["muted"], fontsize=8)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8, labelcolor=LIGHT["ink"], borderpad=0)
    return figure


def stacked_bars(parts: Mapping[str, Sequence[float]], names: Sequence[str]) -> Figure:
    """One bar per name, cut into parts that sum to 1."""
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
    """Every other curve is dashed and lies above the others, so that curves that coincide are both seen."""
    return (Style(color=color, dashed=at % 2 == 1) for at, color in enumerate(cycle(CYCLE)))


def _curve(axes: Axes, sizes: Sequence[int], values: Sequence[Measured], style: Style) -> None:
    middle, half = (np.array([getattr(value, part) for value in values]) for part in ("value", "half"))
    axes.fill_between(sizes, middle - half, middle + half, color=style.color, alpha=0.16, linewidth=0)
    axes.plot(sizes, middle, marker="o", markersize=2.5, **style.options)


def _scaled(axes: Axes, line: Line, values: Sequence[float]) -> None:
    """The scale of one row of panels, from the values of all its curves; bands may leave it."""
    known = [value for value in values if np.isfinite(value)]
    if not line.logarithmic:
        axes.set_ylim(min([0.0, *known]), 1.0)
        return
    if not known:
        return
    low, high = max(SMALLEST, 0.8 * min(known)), 1.25 * max(known)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in DECADE if low <= tick <= high]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _sized(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel("rollouts in a group", loc="right", color=LIGHT["muted"], fontsize=8)
