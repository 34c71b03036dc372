"""The page a quickstart ends with: `report.html`, its curves as files beside it, and a table for the terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from rollout.types import Trajectory
from trainer.config.commands import TrainConfig
from trainer.evaluation import Evaluation
from trainer.report import charts
from trainer.report.metric_log import read_metrics
from trainer.report.pages import templates
from trainer.report.rate import Rate
from trainer.run import RunResult

LAP = "seconds/"

Updates = Sequence[Mapping[str, float]]
Validations = Sequence[tuple[int, Evaluation]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Success on all tasks or on one kind of them, one rate per validation shown."""

    label: str
    rates: tuple[Rate, ...]

    @property
    def change(self) -> float | None:
        """In points; None where there is nothing to compare."""
        return 100 * (self.rates[1].share - self.rates[0].share) if len(self.rates) == 2 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One held-out task as it was played before and after."""

    kind: str
    before: Trajectory
    after: Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A small picture of logged numbers, label -> name in the log, as far as the run logged them."""

    title: str
    note: str
    keys: Mapping[str, str]
    stacked: bool = False


LEARNER = (
    Panel(
        title="Entropy",
        note="Of the next token before each update; nats, mean over response tokens.",
        keys={"entropy": "learn/entropy"},
    ),
    Panel(
        title="Clipped",
        note="Share of response tokens on which the clipped loss gives no gradient.",
        keys={"clipped": "learn/clip_share"},
    ),
    Panel(
        title="Invalid actions",
        note="Share of training turns without a command that the world could read.",
        keys={"invalid": "rollout/invalid"},
    ),
)
CREDIT = (
    Panel(
        title="Flat groups",
        note="Share of groups whose rollouts all returned the same: they give no episode credit.",
        keys={"flat groups": "credit/flat_group_share"},
    ),
    Panel(
        title="Cluster size",
        note="Steps of one task that count as taken in the same state.",
        keys={"mean": "credit/cluster_size_mean", "90th percentile": "credit/cluster_size_p90"},
    ),
    Panel(
        title="What a step is held against",
        note="Share of steps: other actions in its cluster, the same action only, nothing.",
        keys={
            "others": "credit/share_contrast",
            "the same": "credit/share_no_contrast",
            "nothing": "credit/share_singleton",
        },
        stacked=True,
    ),
)


def write_report(
    output: Path, config: TrainConfig, losses: Sequence[float], result: RunResult, kind_of: Callable[[str], str]
) -> tuple[str, ...]:
    """Write report.html, curves.svg and curves.png into `output`, from the numbers in `output`/train; lines to print.

    losses: of the warm start, nats per response token, by epoch. kind_of: a task's label, such as "depth 2".
    Raises ValueError for a run without any validation.
    """
    if not result.validations:
        raise ValueError(f"the run in {output} has no validation, so nothing to report: train it for an update or more")
    shown = (*result.validations[:1], *result.validations[1:][-1:])
    updates = [row for row in read_metrics(output / "train") if "rollout/success" in row]
    seconds = {key.removeprefix(LAP): [row[key] for row in updates] for key in updates[0] if key.startswith(LAP)}
    laps = {name: sum(spent) / len(updates) for name, spent in seconds.items()}
    rows, pairs = _rows(shown), _pairs(shown, kind_of)
    turned = [pair for pair in pairs if pair.after.success and not pair.before.success]
    wide, tall = (_curves(updates, result, size) for size in (charts.WIDE, charts.TALL))
    charts.write_svg(wide, output / "curves.svg")
    charts.write_png(wide, output / "curves.png")
    page = _template().render(
        config=config,
        losses=losses,
        shown=shown,
        rows=rows,
        turned=len(turned),
        lost=sum(pair.before.success and not pair.after.success for pair in pairs),
        example=_example(turned),
        curves=[charts.inline_svg(wide, "success"), charts.inline_svg(tall, "success, narrow")],
        learner=_drawn(LEARNER, updates),
        credit=_drawn(CREDIT, updates),
        time=charts.inline_svg(charts.panel(_numbers(updates), seconds, stacked=True), "seconds per update"),
        laps=laps,
        num_updates=len(updates),
        light=charts.LIGHT,
        dark=charts.DARK,
    )
    (output / "report.html").write_text(page)
    return (*_table(shown, rows, laps), f"report: {output / 'report.html'}")


def _rows(shown: Validations) -> list[Row]:
    """All tasks, then kind by kind."""
    kinds = sorted(set.intersection(*(set(found.by_kind) for _, found in shown)), key=_order)
    return [
        Row(label="all", rates=tuple(found.overall for _, found in shown)),
        *(Row(label=kind, rates=tuple(found.by_kind[kind] for _, found in shown)) for kind in kinds),
    ]


def _order(kind: str) -> tuple[int, str]:
    """ "depth 2" before "depth 10"."""
    return len(kind), kind


def _pairs(shown: Validations, kind_of: Callable[[str], str]) -> list[Pair]:
    """Tasks that were played before and after: a validation may lose some to failed episodes."""
    if len(shown) < 2:
        return []
    before, after = ({one.task_id: one for one in found.trajectories} for _, found in shown)
    both = [task_id for task_id in before if task_id in after]
    return [Pair(kind=kind_of(task_id), before=before[task_id], after=after[task_id]) for task_id in both]


def _example(turned: Sequence[Pair]) -> Pair | None:
    """The first by id among the deepest tasks; None where there is none."""
    deepest = max((_order(pair.kind) for pair in turned), default=None)
    found = [pair for pair in turned if _order(pair.kind) == deepest]
    return min(found, key=lambda pair: pair.before.task_id, default=None)


def _curves(updates: Updates, result: RunResult, size: tuple[float, float]) -> charts.Figure:
    return charts.success(
        _numbers(updates),
        [row["rollout/success"] for row in updates],
        [(number, found.overall) for number, found in result.validations],
        size=size,
    )


def _drawn(panels: Sequence[Panel], updates: Updates) -> list[tuple[Panel, str]]:
    """The panels with anything logged, and their SVG."""
    drawn: list[tuple[Panel, str]] = []
    for panel in panels:
        series = {label: [row[key] for row in updates] for label, key in panel.keys.items() if key in updates[0]}
        if series:
            figure = charts.panel(_numbers(updates), series, stacked=panel.stacked)
            drawn.append((panel, charts.inline_svg(figure, panel.title)))
    return drawn


def _numbers(updates: Updates) -> list[int]:
    return [int(row["update"]) for row in updates]


def _when(number: int) -> str:
    return f"after update {number}" if number else "before the first update"


def _table(shown: Validations, rows: Sequence[Row], laps: Mapping[str, float]) -> Iterator[str]:
    """At most 100 columns."""
    yield _line("held-out success", [_when(number) for number, _ in shown], "change" if len(shown) == 2 else "")
    for row in rows:
        yield _line(row.label, [str(rate) for rate in row.rates], "" if row.change is None else f"{row.change:+.1f}")
    total = sum(laps.values())
    shares = ", ".join(f"{name} {100 * seconds / total:.1f} %" for name, seconds in laps.items())
    yield f"an update takes {total:.1f} s: {shares}"


def _line(label: str, rates: Sequence[str], change: str) -> str:
    return f"{label:<17}{''.join(f'{rate:>30}' for rate in rates)}{change:>10}".rstrip()


def _template() -> jinja2.Template:
    page = templates(Path(__file__).parent)
    page.filters["percent"] = lambda share: f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
    page.filters["span"] = lambda rate: "{:.1f} to {:.1f}\N{NO-BREAK SPACE}%".format(
        *(100 * bound for bound in rate.interval)
    )
    page.filters["when"] = _when
    return page.get_template("report.html.j2")
