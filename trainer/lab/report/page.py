"""What the lab leaves to read: lab.html, and its tables and figure as files of their own."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.lab.config import LabConfig
from trainer.lab.measure.recorded import UpdateCredit
from trainer.lab.measure.truth import TruthError
from trainer.lab.report import pictures
from trainer.lab.report.tables import markdown, mean, recorded_grids, truth_grids
from trainer.report import charts
from trainer.report.pages import templates

PARTS = {"between groups": "between_groups", "between rollouts": "between_rollouts", "within": "within_rollouts"}


def write_page(output: Path, config: LabConfig, recorded: Sequence[UpdateCredit], truth: Sequence[TruthError]) -> Path:
    """Write into `output`; the page's path."""
    output.mkdir(parents=True, exist_ok=True)
    grids = {"truth": list(truth_grids(truth)), "recorded": list(recorded_grids(recorded))}
    (output / "lab.md").write_text("\n".join(markdown(one) for made in grids.values() for one in made))
    figure = None
    if truth:
        drawn = pictures.truth_figure(truth)
        charts.write_svg(drawn, output / "truth.svg")
        charts.write_png(drawn, output / "truth.png")
        figure = charts.inline_svg(drawn, "error against the true advantage by group size")
    page = output / "lab.html"
    page.write_text(
        templates(Path(__file__).parent)
        .get_template("lab.html.j2")
        .render(
            config=config,
            figure=figure,
            **grids,
            cards=list(_cards(recorded)),
            light=charts.LIGHT,
            dark=charts.DARK,
        )
    )
    return page


def _cards(found: Sequence[UpdateCredit]) -> Iterator[tuple[str, str, str]]:
    """(title, note, SVG) of the pictures of recorded rollouts."""
    if not found:
        return
    names = list(found[0].credit)
    shares = {name: [mean([getattr(one.credit[name].shape, part) for one in found]) for part in PARTS.values()]
              for name in names}  # fmt: skip
    varied = [name for name in names if shares[name][0] is not None]
    if varied:
        parts = {label: [shares[name][at] or 0.0 for name in varied] for at, label in enumerate(PARTS)}
        bars = pictures.stacked_bars(parts, varied)
        yield "Where credit varies", "Parts of its variance over all rows.", charts.inline_svg(bars, "variance")
    if len(found) < 2:
        return
    for title, note, series in _over_updates(found, names):
        drawn = pictures.over_updates([one.update for one in found], series)
        yield title, note, charts.inline_svg(drawn, title)


def _over_updates(
    found: Sequence[UpdateCredit], names: Sequence[str]
) -> Iterator[tuple[str, str, dict[str, list[float | None]]]]:
    yield "No credit", "Share of the rows.", {n: [one.credit[n].shape.zero for one in found] for n in names}
    first, *others = names
    ranks = {other: [one.pairs[first, other].rank for one in found] for other in others}
    if ranks:
        yield f"Rank correlation with {first}", "Spearman's, over rows.", ranks
    alone = {n: [one.credit[n].diagnostics.get("singleton_share") for one in found] for n in names}
    alone = {name: values for name, values in alone.items() if any(value is not None for value in values)}
    if alone:
        yield "Singletons", "Share of the clusters (of states, where states are texts) that hold one row.", alone
