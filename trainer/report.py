"""The page a quickstart ends with: `report.html`, its curves as files beside it, and a table for the terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from rollout.types import Trajectory
from trainer import charts
from trainer.config import TrainConfig
from trainer.evaluation import Evaluation, Rate
from trainer.logs import read_metrics
from trainer.run import RunResult

LAP = "seconds/"

Updates = Sequence[Mapping[str, float]]
Validations = Sequence[tuple[int, Evaluation]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """path: the page. table: plain lines for a terminal, at most 100 columns."""

    path: Path
    table: tuple[str, ...]


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
        title="Nothing to compare",
        note="Share of groups with equal returns throughout, and of clusters with one step.",
        keys={"flat groups": "credit/flat_group_share", "lone clusters": "credit/singleton_share"},
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
) -> Report:
    """Write report.html, curves.svg and curves.png into `output`, from the run's own numbers in `output`/train.

    losses: of the warm start, nats per response token, by epoch. kind_of: a task's label, such as "depth 2".
    Raises ValueError for a run without any validation.
    """
    if not result.validations:
        raise ValueError(f"the run in {output} has no validation, so nothing to report: train it for an update or more")
    shown = (*result.validations[:1], *result.validations[1:][-1:])
    updates = [row for row in read_metrics(output / "train") if "rollout/success" in row]
    rows, laps = _rows(shown), _laps(updates)
    pairs = _pairs(shown, kind_of)
    wide, tall = (_curves(updates, result, size) for size in (charts.WIDE, charts.TALL))
    charts.write_svg(wide, output / "curves.svg")
    charts.write_png(wide, output / "curves.png")
    time = Panel(title="Seconds per update", note="", keys={lap: LAP + lap for lap in laps}, stacked=True)
    page = _template().render(
        config=config,
        losses=losses,
        shown=shown,
        rows=rows,
        turned=[pair for pair in pairs if pair.after.success and not pair.before.success],
        lost=[pair for pair in pairs if pair.before.success and not pair.after.success],
        example=_example(pairs),
        curves=[charts.inline_svg(wide, "success"), charts.inline_svg(tall, "success, narrow")],
        learner=_drawn(LEARNER, updates),
        credit=_drawn(CREDIT, updates),
        time=_drawn([time], updates),
        laps=laps,
        num_updates=len(updates),
        light=charts.LIGHT,
        dark=charts.DARK,
    )
    path = output / "report.html"
    path.write_text(page)
    return Report(path=path, table=tuple(_table(shown, rows, laps)))


def _rows(shown: Validations) -> list[Row]:
    """All tasks, then kind by kind."""
    kinds = sorted(shown[0][1].by_kind, key=_order)
    return [
        Row(label="all", rates=tuple(found.overall for _, found in shown)),
        *(Row(label=kind, rates=tuple(found.by_kind[kind] for _, found in shown)) for kind in kinds),
    ]


def _order(kind: str) -> tuple[int, str]:
    """ "depth 2" before "depth 10"."""
    return len(kind), kind


def _pairs(shown: Validations, kind_of: Callable[[str], str]) -> list[Pair]:
    """Every task of the first validation with its rollout of the last; none where there is one validation only."""
    if len(shown) < 2:
        return []
    before, after = ({one.task_id: one for one in found.trajectories} for _, found in shown)
    return [Pair(kind=kind_of(task_id), before=before[task_id], after=after[task_id]) for task_id in before]


def _example(pairs: Sequence[Pair]) -> Pair | None:
    """Of the tasks failed before and solved after, the first by id among the deepest; None where there is none."""
    turned = [pair for pair in pairs if pair.after.success and not pair.before.success]
    deepest = max((_order(pair.kind) for pair in turned), default=None)
    return min(
        (pair for pair in turned if _order(pair.kind) == deepest), key=lambda pair: pair.before.task_id, default=None
    )


def _laps(updates: Updates) -> dict[str, float]:
    """Mean seconds per update of each lap, in the order they are run in."""
    names = [key for key in updates[0] if key.startswith(LAP)]
    return {name.removeprefix(LAP): sum(row[name] for row in updates) / len(updates) for name in names}


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


def _table(shown: Validations, rows: Sequence[Row], laps: Mapping[str, float]) -> list[str]:
    total = sum(laps.values())
    cells = [("held-out success", [_when(number) for number, _ in shown], "change")]
    cells += [
        (row.label, [str(rate) for rate in row.rates], "" if row.change is None else f"{row.change:+.1f}")
        for row in rows
    ]
    lines = [
        f"{label:<17}" + "".join(f"{rate:>30}" for rate in rates) + f"{change:>10}" for label, rates, change in cells
    ]
    shares = ", ".join(f"{name} {100 * seconds / total:.1f} %" for name, seconds in laps.items())
    return [*lines, f"an update takes {total:.1f} s: {shares}"]


def _template() -> jinja2.Template:
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    page.filters["span"] = lambda rate: "{:.1f} to {:.1f} %".format(*(100 * bound for bound in rate.interval))
    page.filters["when"] = _when
    return page.get_template("report.html.j2")
