"""The report of a quickstart: the page `report.html`, its curves as image files, and a table for the terminal."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from rollout.types import Trajectory
from trainer.config.commands import TrainConfig
from trainer.evaluation import Evaluation, lost_words
from trainer.report import charts
from trainer.report.metric_rows import read_metrics
from trainer.report.pages import templates
from trainer.report.rate import Rate
from trainer.run import RunResult

TIMES = "seconds/"  # prefix of the logged times of an update's phases
COLUMNS = 80  # of a terminal; the table and the times fit
LABEL, CELL, CHANGE = 16, 28, 7  # widths in the table; two cells fit

Updates = Sequence[Mapping[str, float]]
Validations = Sequence[tuple[int, Evaluation]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table: success on all tasks, or on one kind of task."""

    label: str
    """"all", or the kind."""

    rates: tuple[Rate, ...]
    """One rate for each validation shown: before and after, or one alone."""

    @property
    def change(self) -> float | None:
        """After minus before, in percentage points; None for one validation alone."""
        return 100 * (self.rates[1].share - self.rates[0].share) if len(self.rates) == 2 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The rollouts of one held-out task, before and after training."""

    kind: str
    """The task's label, such as "depth 2"."""

    before: Trajectory
    """From the first validation."""

    after: Trajectory
    """From the last validation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A small chart of logged numbers."""

    title: str
    """Its heading."""

    note: str
    """What is drawn, and in which unit."""

    keys: Mapping[str, str]
    """Label of a curve -> name in metrics.jsonl. Names that the run did not log are left out."""

    stacked: bool = False
    """Whether the curves are shares drawn on top of each other."""


LEARNER = (
    Panel(
        title="Entropy",
        note="Entropy of the next token before each update, in nats; mean over response tokens.",
        keys={"entropy": "learn/entropy"},
    ),
    Panel(
        title="Clipped",
        note="Share of response tokens that have no gradient because the loss is clipped.",
        keys={"clipped": "learn/clip_share"},
    ),
    Panel(
        title="Invalid actions",
        note="Share of training steps whose action the world could not read.",
        keys={"invalid": "rollout/invalid"},
    ),
)
CREDIT = (
    Panel(
        title="Flat groups",
        note="Share of groups whose rollouts all have the same return, so that episode credit is 0.",
        keys={"flat groups": "credit/flat_group_share"},
    ),
    Panel(
        title="Cluster size",
        note="Number of steps of one task that count as taken in the same state.",
        keys={"mean": "credit/cluster_size_mean", "90th percentile": "credit/cluster_size_p90"},
    ),
    Panel(
        title="What a step is compared with",
        note="Share of steps whose cluster holds other actions, the same action only, or no other step.",
        keys={
            "other actions": "credit/share_contrast",
            "same action": "credit/share_no_contrast",
            "nothing": "credit/share_singleton",
        },
        stacked=True,
    ),
)


def write_report(
    output: Path, config: TrainConfig, losses: Sequence[float], result: RunResult, kind_of: Callable[[str], str]
) -> tuple[str, ...]:
    """Write report.html, curves.svg and curves.png into `output`. Returns the lines to print.

    The numbers of the updates are read from `output`/train. `losses` are the warm start's, in nats per response token,
    one for each epoch. `kind_of` gives a task's label, such as "depth 2". Raises ValueError for a run without a
    validation.
    """
    if not result.validations:
        raise ValueError(f"the run in {output} has no validation, so nothing to report: train it for an update or more")
    shown = (*result.validations[:1], *result.validations[1:][-1:])
    updates = [row for row in read_metrics(output / "train") if "rollout/success" in row]
    laps = dict.fromkeys(key for row in updates for key in row if key.startswith(TIMES) and key != f"{TIMES}validate")
    seconds = {key.removeprefix(TIMES): [row.get(key, 0.0) for row in updates] for key in laps}
    mean_seconds = {name: sum(values) / len(updates) for name, values in seconds.items()}
    rows, pairs = _rows(shown), _pairs(shown, kind_of)
    solved = [pair for pair in pairs if pair.after.success and not pair.before.success]
    wide, tall = (_curves(updates, result, size) for size in (charts.WIDE, charts.TALL))
    charts.write_svg(wide, output / "curves.svg")
    charts.write_png(wide, output / "curves.png")
    page = _template().render(
        config=config,
        losses=losses,
        shown=shown,
        rows=rows,
        turned=len(solved),
        lost=sum(pair.before.success and not pair.after.success for pair in pairs),
        example=_example(solved),
        curves=[charts.inline_svg(wide, "success"), charts.inline_svg(tall, "success, narrow")],
        learner=_drawn(LEARNER, updates),
        credit=_drawn(CREDIT, updates),
        time=charts.inline_svg(charts.panel(_numbers(updates), seconds, stacked=True), "seconds per update"),
        laps=mean_seconds,
        num_updates=len(updates),
        light=charts.LIGHT,
        dark=charts.DARK,
    )
    (output / "report.html").write_text(page)
    return (*_table(shown, rows, mean_seconds), f"report: {output / 'report.html'}")


def _rows(shown: Validations) -> list[Row]:
    """All tasks first, then each kind that every validation has."""
    kinds = sorted(set.intersection(*(set(result.by_kind) for _, result in shown)), key=_order)
    return [
        Row(label="all", rates=tuple(result.overall for _, result in shown)),
        *(Row(label=kind, rates=tuple(result.by_kind[kind] for _, result in shown)) for kind in kinds),
    ]


def _order(kind: str) -> tuple[int, str]:
    """Sort key that puts "depth 2" before "depth 10"."""
    return len(kind), kind


def _pairs(shown: Validations, kind_of: Callable[[str], str]) -> list[Pair]:
    """The tasks that both validations have: either may have lost some to failed episodes."""
    if len(shown) < 2:
        return []
    before, after = ({rollout.task_id: rollout for rollout in result.trajectories} for _, result in shown)
    both = [task_id for task_id in before if task_id in after]
    return [Pair(kind=kind_of(task_id), before=before[task_id], after=after[task_id]) for task_id in both]


def _example(solved: Sequence[Pair]) -> Pair | None:
    """Of the newly solved tasks of the deepest kind, the first by id; None if no task was newly solved."""
    deepest = max((_order(pair.kind) for pair in solved), default=None)
    candidates = [pair for pair in solved if _order(pair.kind) == deepest]
    return min(candidates, key=lambda pair: pair.before.task_id, default=None)


def _curves(updates: Updates, result: RunResult, size: tuple[float, float]) -> charts.Figure:
    return charts.success(
        _numbers(updates),
        [row["rollout/success"] for row in updates],
        [(number, validation.overall) for number, validation in result.validations],
        size=size,
    )


def _drawn(panels: Sequence[Panel], updates: Updates) -> list[tuple[Panel, str]]:
    """The panels that the run logged numbers for, each with its SVG."""
    figures: list[tuple[Panel, str]] = []
    for panel in panels:
        series = {label: [row[key] for row in updates] for label, key in panel.keys.items() if key in updates[0]}
        if series:
            figure = charts.panel(_numbers(updates), series, stacked=panel.stacked)
            figures.append((panel, charts.inline_svg(figure, panel.title)))
    return figures


def _numbers(updates: Updates) -> list[int]:
    return [int(row["update"]) for row in updates]


def _when(number: int) -> str:
    return f"after update {number}" if number else "before the first update"


def _table(shown: Validations, rows: Sequence[Row], mean_seconds: Mapping[str, float]) -> Iterator[str]:
    """Success by kind of task, then the time of an update. `mean_seconds` is by phase."""
    yield from _lines("success, %", [_when(number) for number, _ in shown], "change" if len(shown) == 2 else "")
    for row in rows:
        change = "" if row.change is None else f"{row.change:+.1f}"
        yield from _lines(row.label, [_cell(rate) for rate in row.rates], change)
    for number, result in shown:
        if result.not_played:
            yield from textwrap.wrap(f"{_when(number)}{lost_words(result.not_played)}; they count as failures", COLUMNS)
    total = sum(mean_seconds.values())
    shares = ", ".join(f"{name} {100 * seconds / total:.1f}%" for name, seconds in mean_seconds.items())
    yield from textwrap.wrap(f"an update takes {total:.1f} s: {shares}", COLUMNS)


def _cell(rate: Rate) -> str:
    """Success in percent, its interval, the counts."""
    low, high = rate.interval
    return f"{100 * rate.share:.1f} [{100 * low:.1f}, {100 * high:.1f}] {rate.wins}/{rate.total}"


def _lines(label: str, cells: Sequence[str], change: str) -> Iterator[str]:
    """One row of the table. A label that is too long stands on a line of its own."""
    if len(label) >= LABEL:
        yield label
        label = ""
    yield f"{label:<{LABEL}}{''.join(f'{cell:>{CELL}}' for cell in cells)}{change:>{CHANGE}}".rstrip()


def _template() -> jinja2.Template:
    page = templates(Path(__file__).parent)
    page.filters["percent"] = lambda share: f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
    page.filters["span"] = lambda rate: "{:.1f} to {:.1f}\N{NO-BREAK SPACE}%".format(
        *(100 * bound for bound in rate.interval)
    )
    page.filters["when"] = _when
    page.filters["lost"] = lost_words
    return page.get_template("report.html.j2")
