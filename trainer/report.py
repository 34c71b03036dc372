"""The page a quickstart ends with: `report.html`, its curves as files beside it, and a table for the terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rollout.types import Trajectory
from trainer import charts
from trainer.charts import DARK, LIGHT, Series
from trainer.config import TrainConfig
from trainer.evaluation import Evaluation, Rate
from trainer.logs import read_metrics
from trainer.run import RunResult

LAP, CREDIT = "seconds/", "credit/"
BRANCHES = {"contrast": "share_contrast", "no contrast": "share_no_contrast", "alone": "share_singleton"}
LABEL_WIDTH, RATE_WIDTH = 16, 30

Metrics = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """path: the page. table: plain lines for a terminal, at most 100 columns."""

    path: Path
    table: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One validation of the run and the words for when it was."""

    when: str
    found: Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Success on one kind of task, one rate per measurement; change in points, None where there is one only."""

    label: str
    rates: tuple[Rate, ...]
    change: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One held-out task as it was played before and after."""

    task_id: str
    kind: str
    before: Trajectory
    after: Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A picture with its title and what one must know to read it."""

    title: str
    note: str
    svg: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """Seconds per update, and the share of all updates' time, in [0, 1]."""

    name: str
    seconds: float
    share: float


def write_report(
    output: Path, config: TrainConfig, losses: Sequence[float], result: RunResult, kind_of: Callable[[str], str]
) -> Report:
    """Write report.html, curves.svg and curves.png into `output`, from the run's own numbers in `output`/train.

    losses: of the warm start, nats per response token, by epoch. kind_of: a task's label, such as "depth 2".
    Raises ValueError for a run without any validation.
    """
    if not result.validations:
        raise ValueError("a run without validations has nothing to report: set validation.every to updates or less")
    updates = [row for row in read_metrics(output / "train") if "rollout/success" in row]
    measured = _measured(result)
    rows, laps = _rows(measured), _laps(updates)
    pairs = _pairs(measured, kind_of)
    curves = [_curves(updates, result, size) for size in (charts.WIDE, charts.TALL)]
    charts.write_svg(curves[0], output / "curves.svg")
    charts.write_png(curves[0], output / "curves.png")
    page = _template().render(
        config=config,
        measured=measured,
        rows=rows,
        turned=[pair for pair in pairs if not pair.before.success and pair.after.success],
        lost=[pair for pair in pairs if pair.before.success and not pair.after.success],
        example=_example(pairs),
        curves=[Markup(charts.inline_svg(curve, f"curves-{number}")) for number, curve in enumerate(curves)],
        learning=_learning_charts(config, updates, losses),
        time=_time_chart(updates, laps),
        laps=laps,
        num_updates=len(updates),
        credit=_credit_charts(updates),
        settings=list(_flat(asdict(config))),
        light=LIGHT,
        dark=DARK,
    )
    path = output / "report.html"
    path.write_text(page)
    return Report(path=path, table=_table(measured, rows, laps, len(updates)))


def _measured(result: RunResult) -> tuple[Measured, ...]:
    """The first and the last validation, or the only one."""
    first, last = result.validations[0], result.validations[-1]
    chosen = [first] if first is last else [first, last]
    return tuple(
        Measured(when=f"after update {number}" if number else "before the first update", found=found)
        for number, found in chosen
    )


def _rows(measured: Sequence[Measured]) -> list[Row]:
    """All tasks, then kind by kind."""
    kinds = sorted(set.intersection(*(set(each.found.by_kind) for each in measured)), key=_order)
    columns = [("all", [each.found.overall for each in measured])]
    columns += [(kind, [each.found.by_kind[kind] for each in measured]) for kind in kinds]
    return [
        Row(
            label=label,
            rates=tuple(rates),
            change=None if len(rates) == 1 else 100 * (rates[-1].share - rates[0].share),
        )
        for label, rates in columns
    ]


def _order(kind: str) -> tuple[int, str]:
    """ "depth 2" before "depth 10"."""
    return len(kind), kind


def _pairs(measured: Sequence[Measured], kind_of: Callable[[str], str]) -> list[Pair]:
    """Tasks that were played before and after, in the order of the first time; none with one measurement."""
    if len(measured) < 2:
        return []
    after = {one.task_id: one for one in measured[1].found.trajectories}
    return [
        Pair(task_id=one.task_id, kind=kind_of(one.task_id), before=one, after=after[one.task_id])
        for one in measured[0].found.trajectories
        if one.task_id in after
    ]


def _example(pairs: Sequence[Pair]) -> Pair | None:
    """Of the tasks failed before and solved after, the first by id among the deepest; None where there is none."""
    turned = [pair for pair in pairs if not pair.before.success and pair.after.success]
    if not turned:
        return None
    deepest = max(_order(pair.kind) for pair in turned)
    return min((pair for pair in turned if _order(pair.kind) == deepest), key=lambda pair: pair.task_id)


def _laps(updates: Metrics) -> list[Lap]:
    """In the order they are run in."""
    names = [key.removeprefix(LAP) for key in updates[0] if key.startswith(LAP)] if updates else []
    seconds = {name: sum(row[LAP + name] for row in updates) for name in names}
    total = sum(seconds.values())
    return [Lap(name=name, seconds=spent / len(updates), share=spent / total) for name, spent in seconds.items()]


def _curves(updates: Metrics, result: RunResult, size: tuple[float, float]) -> Any:
    return charts.success(
        _numbers(updates),
        [row["rollout/success"] for row in updates],
        [(number, found.overall) for number, found in result.validations],
        size=size,
    )


def _learning_charts(config: TrainConfig, updates: Metrics, losses: Sequence[float]) -> list[Chart]:
    found: list[Chart] = []
    weight = config.learner.loss.kl_coef
    if updates:
        note = "Of the policy over its next token, before each update; mean over response tokens, nats."
        if weight == 0:
            note += " The KL to a reference is not computed at learner.loss.kl_coef=0."
        found.append(_lines("Entropy", note, updates, {"entropy": "learn/entropy"}))
        if weight > 0:
            note = f"Mean over response tokens, nats; in the loss with weight {weight:g}."
            found.append(_lines("KL to the reference", note, updates, {"KL": "learn/kl"}))
    if losses:
        figure = charts.lines(range(1, len(losses) + 1), [Series(label="loss", values=losses)], unit="epoch")
        note = "Before the first update, on expert demonstrations: nats per response token, epoch by epoch."
        found.append(_chart("Warm-start loss", note, figure))
    return found


def _time_chart(updates: Metrics, laps: Sequence[Lap]) -> Chart | None:
    if not updates:
        return None
    note = "Seconds of each update, lap by lap. Start-up, warm start, validations and checkpoints are not in it."
    return _stack("Seconds per update", note, updates, {lap.name: LAP + lap.name for lap in laps})


def _credit_charts(updates: Metrics) -> list[Chart]:
    """The estimator's own diagnostics, as far as it gives them."""
    known = set(updates[0]) if updates else set[str]()
    found: list[Chart] = []
    wanted = {"of clusters": f"{CREDIT}singleton_share", "of steps": f"{CREDIT}share_singleton"}
    if shares := {label: key for label, key in wanted.items() if key in known}:
        note = "Clusters of a single step: it is compared with nothing and its step credit is 0."
        found.append(_lines("Singleton share", note, updates, shares))
    wanted = {"mean": f"{CREDIT}cluster_size_mean", "90th percentile": f"{CREDIT}cluster_size_p90"}
    if set(wanted.values()) <= known:
        note = "Steps of one task's rollouts that the estimator holds for the same state, per cluster."
        found.append(_lines("Cluster size", note, updates, wanted))
    wanted = {label: CREDIT + name for label, name in BRANCHES.items()}
    if set(wanted.values()) <= known:
        note = (
            "Share of steps by how they get their step credit: against other actions in the cluster, "
            "against the same action only, or alone."
        )
        found.append(_stack("Branches", note, updates, wanted))
    return found


def _lines(title: str, note: str, updates: Metrics, keys: Mapping[str, str]) -> Chart:
    return _chart(title, note, charts.lines(_numbers(updates), _series(updates, keys)))


def _stack(title: str, note: str, updates: Metrics, keys: Mapping[str, str]) -> Chart:
    return _chart(title, note, charts.stack(_numbers(updates), _series(updates, keys)))


def _chart(title: str, note: str, figure: Any) -> Chart:
    return Chart(title=title, note=note, svg=Markup(charts.inline_svg(figure, title)))


def _series(updates: Metrics, keys: Mapping[str, str]) -> list[Series]:
    return [Series(label=label, values=[row[key] for row in updates]) for label, key in keys.items()]


def _numbers(updates: Metrics) -> list[int]:
    return [int(row["update"]) for row in updates]


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """("learner.loss.kl_coef", 0.0) and so on, as they are written on a command line."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _table(measured: Sequence[Measured], rows: Sequence[Row], laps: Sequence[Lap], updates: int) -> tuple[str, ...]:
    titles = [each.when for each in measured] + (["change"] if len(measured) == 2 else [])
    lines = [_line("held-out success", titles)]
    lines.append("-" * len(lines[0]))
    for row in rows:
        change = [] if row.change is None else [f"{row.change:+.1f}"]
        lines.append(_line(row.label, [*map(str, row.rates), *change]))
    lines.append(_line("turns a task", [f"{each.found.mean_steps:.1f}" for each in measured]))
    lines.append(_line("invalid actions", [f"{100 * each.found.invalid_share:.1f} %" for each in measured]))
    if laps:
        shares = ", ".join(f"{lap.name} {100 * lap.share:.2f} %" for lap in laps)
        lines.append(f"{updates} updates of {sum(lap.seconds for lap in laps):.1f} s: {shares}")
    return tuple(lines)


def _line(label: str, cells: Sequence[str]) -> str:
    rates, change = cells[:2], cells[2:]
    return f"{label:<{LABEL_WIDTH}}" + "".join(f"{cell:>{RATE_WIDTH}}" for cell in rates) + "".join(
        f"{cell:>10}" for cell in change
    )


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    page = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    page.filters["span"] = lambda rate: "{:.1f} to {:.1f} %".format(*(100 * bound for bound in rate.interval))
    return page.get_template("report.html.j2")
