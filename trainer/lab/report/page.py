"""What the lab leaves to read: lab.html, and its tables and figure as files of their own."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.lab.measure.recorded import UpdateCredit
from trainer.lab.report import pictures
from trainer.lab.report.bench import detail_grids
from trainer.lab.report.numbers import Numbers
from trainer.lab.report.tables import mean, recorded_grids, truth_grids
from trainer.report import charts
from trainer.report.grid import markdown
from trainer.report.pages import templates

VARIANCE_PARTS = {
    "between groups": "between_groups",
    "between rollouts": "between_rollouts",
    "within": "within_rollouts",
}
"""The parts of the credit's variance, by the field of `CreditStatistics` that holds each."""


def write_page(output: Path, numbers: Numbers) -> Path:
    """Write lab.html, lab.md and, with generated worlds, truth.svg and truth.png into `output`; the page's path."""
    output.mkdir(parents=True, exist_ok=True)
    grids = {
        "truth": [*truth_grids(numbers.truth), *detail_grids(numbers.truth)],
        "recorded": list(recorded_grids(numbers.recorded)),
    }
    (output / "lab.md").write_text("\n".join(markdown(grid) for part in grids.values() for grid in part))
    svg = None
    if numbers.truth:
        figure = pictures.truth_figure(numbers.truth)
        charts.write_svg(figure, output / "truth.svg")
        charts.write_png(figure, output / "truth.png")
        svg = charts.inline_svg(figure, "error against the true advantage by group size")
    page = output / "lab.html"
    page.write_text(
        templates(Path(__file__).parent)
        .get_template("lab.html.j2")
        .render(
            config=numbers.config,
            figure=svg,
            **grids,
            cards=list(_cards(numbers.recorded)),
            light=charts.LIGHT,
            dark=charts.DARK,
        )
    )
    return page


def _cards(updates: Sequence[UpdateCredit]) -> Iterator[tuple[str, str, str]]:
    """(title, note, SVG) of the pictures of recorded rollouts."""
    if not updates:
        return
    names = list(updates[0].credit)
    shares = {
        name: [
            mean([getattr(update.credit[name].statistics, field) for update in updates])
            for field in VARIANCE_PARTS.values()
        ]
        for name in names
    }
    varied = [name for name in names if shares[name][0] is not None]
    if varied:
        parts = {label: [shares[name][index] or 0.0 for name in varied] for index, label in enumerate(VARIANCE_PARTS)}
        bars = pictures.stacked_bars(parts, varied)
        yield "Where credit varies", "Parts of its variance over all rows.", charts.inline_svg(bars, "variance")
    if len(updates) < 2:
        return
    for title, note, series in _over_updates(updates, names):
        figure = pictures.over_updates([update.update for update in updates], series)
        yield title, note, charts.inline_svg(figure, title)


def _over_updates(
    updates: Sequence[UpdateCredit], names: Sequence[str]
) -> Iterator[tuple[str, str, dict[str, list[float | None]]]]:
    """(title, note, values of each update by estimator) of what changes over a run."""
    zero: dict[str, list[float | None]] = {
        name: [update.credit[name].statistics.zero for update in updates] for name in names
    }
    yield "No credit", "Share of the rows.", zero
    first, *others = names
    ranks = {other: [update.pairs[first, other].rank for update in updates] for other in others}
    if ranks:
        yield f"Rank correlation with {first}", "Spearman's, over rows.", ranks
    singletons = {
        name: [update.credit[name].diagnostics.get("singleton_share") for update in updates] for name in names
    }
    singletons = {name: values for name, values in singletons.items() if any(value is not None for value in values)}
    if singletons:
        note = "Share of the clusters (of states, where states are texts) that hold one row."
        yield "Singletons", note, singletons
