"""Charts of a run's numbers over its updates, as SVG that takes its colours from the page around it, or as PNG."""

import html
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainer.report.rate import Rate

# A chart is drawn in the light colours. On a page each is replaced by its name, so no two colours may be equal.
LIGHT = {
    "paper": "#fdfdfc",
    "ink": "#1d2126",
    "muted": "#646c76",
    "rule": "#dfe2e6",
    "before": "#9a7b4f",
    "after": "#1f5fae",
    "c1": "#3d74b8",
    "c2": "#55a39a",
    "c3": "#c4544d",
    "c4": "#d9a441",
    "c5": "#8a6bb1",
}
DARK = {
    "paper": "#15181c",
    "ink": "#e4e7ea",
    "muted": "#98a1ab",
    "rule": "#30363d",
    "before": "#cdaa78",
    "after": "#74aef5",
    "c1": "#6f9fdc",
    "c2": "#74c2b8",
    "c3": "#e58079",
    "c4": "#e6bd68",
    "c5": "#b197d6",
}
CYCLE = tuple(LIGHT[name] for name in ("c1", "c2", "c3", "c4", "c5"))
CARD, WIDE, TALL = (3.0, 2.0), (9.2, 3.0), (3.6, 3.2)  # inches; one inch is 72 units of an SVG
ROUND = (1, 2, 5, 10)  # steps between the ticks of an axis, times a power of ten
LONGEST_TICKS = 36  # characters of all labels below a card that fit without turning them
LONGEST_LINE = 24  # characters of a label; the rest goes below
SMOOTH = 5  # updates in the running mean of the training success


def panel(updates: Sequence[int], series: Mapping[str, Sequence[float]], *, stacked: bool = False) -> Figure:
    """One line per name over consecutive updates; or, stacked, one column per update with a part per name."""
    figure, axes = _axes(CARD)
    floor, edges = np.zeros(len(updates)), np.arange(len(updates) + 1) + updates[0] - 0.5
    for (label, values), color in zip(series.items(), cycle(CYCLE), strict=False):
        if stacked:
            top = floor + np.asarray(values)
            axes.stairs(top, edges, baseline=floor, fill=True, color=color, label=label)
            floor = top
        else:
            axes.plot(updates, values, "-o", color=color, label=label, linewidth=1.4, markersize=1.8)
    if min(min(values) for values in series.values()) >= 0:
        axes.set_ylim(bottom=0)
    return _finished(figure, columns=3)


def success(
    updates: Sequence[int],
    training: Sequence[float],
    validations: Sequence[tuple[int, Rate]],
    *,
    size: tuple[float, float] = WIDE,
) -> Figure:
    """Success in per cent: training rollouts as dots with a running mean, held-out tasks with their 95 % interval."""
    figure, axes = _axes(size)
    percent, grey, blue = 100 * np.asarray(training), LIGHT["muted"], LIGHT["after"]
    mean = [percent[max(0, at - SMOOTH // 2) : at + SMOOTH // 2 + 1].mean() for at in range(len(percent))]
    axes.plot(updates, percent, "o", color=grey, markersize=2, alpha=0.5)
    axes.plot(updates, mean, color=grey, label=f"training rollouts, mean of {SMOOTH} updates")
    at = [update for update, _ in validations]
    low, high = 100 * np.array([rate.interval for _, rate in validations]).T
    axes.fill_between(at, low, high, color=blue, alpha=0.15, linewidth=0)
    axes.vlines(at, low, high, color=blue, linewidth=0.8, alpha=0.6)
    shares = [100 * rate.share for _, rate in validations]
    axes.plot(at, shares, "-o", color=blue, markersize=3.5, linewidth=1.6, label="held-out tasks, 95 % interval")
    axes.set_ylim(0, 100)
    axes.set_ylabel("success, %", color=grey, fontsize=8)
    return _finished(figure, columns=2 if size == WIDE else 1)


def effect(values: Mapping[str, Sequence[float]], *, label: str) -> Figure:
    """What a setting does: for each of its values a dot for each run, and their mean. label: of the vertical axis."""
    figure, axes = _axes(CARD)
    for at, numbers in enumerate(values.values()):
        axes.plot([at] * len(numbers), numbers, "o", color=LIGHT["muted"], markersize=3, alpha=0.6)
    means = [float(np.mean(numbers)) for numbers in values.values()]
    axes.plot(range(len(values)), means, "-o", color=LIGHT["after"], linewidth=1.4, markersize=4)
    ticks = ["\n".join(textwrap.wrap(value, LONGEST_LINE)) for value in values]
    axes.set_xticks(range(len(values)), ticks, rotation=0 if sum(map(len, values)) <= LONGEST_TICKS else 30)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_xlabel("")
    axes.set_title(label, loc="left", color=LIGHT["muted"], fontsize=8)
    return figure


def inline_svg(figure: Figure, name: str) -> str:
    """An `<svg>` for a page that defines `--ink` and the other colours. Charts of different names share no id."""
    text = _svg(figure, name)
    for color, value in LIGHT.items():
        text = text.replace(value, f"var(--{color})")
    return text


def write_svg(figure: Figure, path: Path) -> None:
    """Write the chart as a file that contains the light and the dark colours."""
    light, dark = (";".join(f"--{color}:{value}" for color, value in theme.items()) for theme in (LIGHT, DARK))
    style = f"<style>svg{{{light};background:var(--paper)}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    text = inline_svg(figure, path.stem)
    path.write_text(text.replace(">", f' font-family="system-ui, sans-serif">{style}', 1))


def write_png(figure: Figure, path: Path) -> None:
    """Write the chart in the light colours."""
    figure.savefig(path, dpi=200, facecolor=LIGHT["paper"])


def plain(axes: Axes) -> None:
    """Style the axes: horizontal grid lines, no frame, small grey tick labels."""
    axes.spines[:].set_visible(False)
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.tick_params(length=0, which="both", labelsize=8, labelcolor=LIGHT["muted"])


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """An empty chart in the style of `plain`, with whole updates on the horizontal axis."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    plain(axes)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=ROUND))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=ROUND))
    axes.set_xlabel("update", loc="right", color=LIGHT["muted"], fontsize=8)
    return figure, axes


def _finished(figure: Figure, *, columns: int) -> Figure:
    """The figure with a legend at the upper left. A chart with a single label gets none."""
    if len(figure.axes[0].get_legend_handles_labels()[1]) == 1:
        return figure
    style = {"fontsize": 8, "labelcolor": LIGHT["ink"], "handlelength": 1.2, "columnspacing": 1.2, "borderpad": 0}
    figure.legend(loc="outside upper left", ncols=columns, frameon=False, **style)
    return figure


def _svg(figure: Figure, name: str) -> str:
    """The figure as SVG. Text stays text, in the page's font; equal charts of one name give equal bytes."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=no_metadata, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<style.*?</style>|<defs>\s*</defs>", "", text)  # the style would apply to the whole page
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # ids of groups, which are equal in every chart
    text = re.sub(r" font-family: [^;\"]*;?", "", text)
    label = f'role="img" aria-label="{html.escape(name)}"'
    return re.sub(r'(<svg [^>]*?)width="\S+" height="\S+"', lambda found: found[1] + label, text, count=1)
