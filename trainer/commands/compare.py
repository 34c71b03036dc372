"""Put finished evaluations of one panel into one table: rates, and what each solves more than the first."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from trainer.config.build import ConfigError
from trainer.config.compare import CompareConfig
from trainer.config.continuing import flat
from trainer.evaluation import TaskResult, rate_of
from trainer.report.paired import Gain, Solved, gain
from trainer.report.progress import Display
from trainer.report.rate import Rate, Share
from trainer.setup.conditions import SHORT
from trainer.setup.held_out import FINISHED, FREE_SETTINGS, MACHINE_SETTINGS, RESULT, SETTINGS

WIDTH = 80
"""Columns of a table."""
ALL = "all"
"""The kind under which all tasks stand."""
NEUTRAL = FREE_SETTINGS - {"samples", "endpoint"}
"""Settings and groups that change no number that is compared, besides those of `MACHINE_SETTINGS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A finished evaluation."""

    name: str
    """The shortest end of its folder's path that no other folder of the comparison has."""

    folder: Path
    """Its output folder."""

    panel: Mapping[str, Any]
    """Which tasks it is of: `world`, `split`, `digest`, `tasks`."""

    settings: Mapping[str, Any]
    """Its settings under their dotted names."""

    tasks: Mapping[str, TaskResult]
    """What became of each task, by id."""

    def of_kind(self, kind: str) -> list[TaskResult]:
        """The tasks of a kind, by id; all of them for `ALL`."""
        return [task for _, task in sorted(self.tasks.items()) if kind in (ALL, task.kind)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One evaluation on the tasks of one kind."""

    measured: Measured
    """The evaluation."""

    kind: str
    """The kind of its tasks, or `ALL`."""

    rate: Rate
    """Its success."""

    score: float
    """Its mean score."""

    gain: Gain | None
    """What it solves more than the first evaluation; None for the first itself, and for a kind of one task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePlan:
    """A comparison that can be made."""

    config: CompareConfig
    """What was asked for."""

    evaluations: tuple[Measured, ...]
    """In the order in which they were named."""


def plan_compare(config: CompareConfig) -> ComparePlan:
    """Read the evaluations that are to be compared.

    Raises ConfigError for a folder without a finished evaluation, and for evaluations of different tasks.
    """
    folders = [Path(folder).absolute() for folder in config.folders]
    if twice := [folder for number, folder in enumerate(folders) if folder in folders[:number]]:
        raise ConfigError(f"{twice[0]} is named twice: name each evaluation once")
    evaluations = tuple(_read(folder, folders) for folder in folders)
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.panel["digest"] != first.panel["digest"]:
            raise ConfigError(
                f"{first.folder} is of {_panel_words(first)} and {other.folder} of {_panel_words(other)}: compare "
                "evaluations of the same tasks"
            )
    if len(first.tasks) < 2:
        raise ConfigError(f"{first.folder} is of one task: a comparison needs two or more")
    return ComparePlan(config=config, evaluations=evaluations)


def show_comparison(plan: ComparePlan, display: Display) -> None:
    """Print the comparison in the format of the config."""
    kinds = [ALL, *sorted({task.kind for task in plan.evaluations[0].tasks.values()})] if plan.config.kinds else [ALL]
    lines = [line for kind in kinds for line in _lines(plan.evaluations, kind)]
    if plan.config.format == "table":
        display.line(_panel_words(plan.evaluations[0]))
        for kind in kinds:
            display.console.print(_table([line for line in lines if line.kind == kind], kind))
        if differing := _differing(plan.evaluations):
            display.line(f"They differ in {', '.join(differing)}.")
        return
    records = list(map(_record, lines))
    text = {"markdown": _markdown, "csv": _csv, "json": json.dumps}[plan.config.format](records)
    display.line(text.rstrip("\n"))


def _read(folder: Path, folders: Sequence[Path]) -> Measured:
    """The evaluation in a folder. folders: all that are compared."""
    if not (folder / RESULT).is_file():
        if (folder / FINISHED).is_file():
            raise ConfigError(f"the evaluation in {folder} is not finished: go on with resume=auto output={folder}")
        raise ConfigError(f"{folder} has no {RESULT}: name the output folder of stepcredit evaluate")
    if not (folder / SETTINGS).is_file():
        raise ConfigError(f"{folder} has no {SETTINGS}, which stepcredit evaluate writes beside {RESULT}: bring it too")
    try:
        result, settings = (json.loads((folder / name).read_text()) for name in (RESULT, SETTINGS))
        tasks = {task["task_id"]: TaskResult(**task) for task in result["tasks"]}
        return Measured(
            name=_short_name(folder, folders),
            folder=folder,
            panel=result["panel"],
            settings=flat(settings),
            tasks=tasks,
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{folder / RESULT} is broken or of an earlier version ({error!r}): evaluate anew in another output folder"
        ) from error


def _short_name(folder: Path, folders: Sequence[Path]) -> str:
    for length in range(1, len(folder.parts)):
        if sum(other.parts[-length:] == folder.parts[-length:] for other in folders) == 1:
            return "/".join(folder.parts[-length:])
    return str(folder)


def _panel_words(one: Measured) -> str:
    panel = one.panel
    return f"{panel['tasks']} tasks of {panel['world']} {panel['split']}, panel {panel['digest'][:SHORT]}"


def _lines(evaluations: Sequence[Measured], kind: str) -> Iterator[Line]:
    first = evaluations[0].of_kind(kind)
    for number, measured in enumerate(evaluations):
        tasks = measured.of_kind(kind)
        compared = gain(_solved(first), _solved(tasks)) if number and len(tasks) > 1 else None
        score = sum(task.score for task in tasks) / len(tasks)
        yield Line(measured=measured, kind=kind, rate=rate_of(tasks), score=score, gain=compared)


def _solved(tasks: Sequence[TaskResult]) -> list[Solved]:
    return [Solved(wins=task.wins, samples=task.samples) for task in tasks]


def _table(lines: Sequence[Line], kind: str) -> Table:
    table = Table(width=WIDTH)
    table.add_column(Text("evaluation" if kind == ALL else kind), ratio=1, overflow="fold")
    for name in ("success %", "difference", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        low, high = line.rate.interval
        success = f"{100 * line.rate.share:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        more = line.gain
        difference = "" if more is None else f"{100 * more.value:+.1f} [{100 * more.low:+.1f}, {100 * more.high:+.1f}]"
        table.add_row(Text(line.measured.name), success, difference, "" if more is None else f"{more.p:.2g}")
    return table


def _record(line: Line) -> dict[str, Any]:
    """A line as plain values, shares in [0, 1]; the keys of all lines are the same but for pass@k."""
    rate, more = line.rate, line.gain
    low, high = rate.interval
    return {
        "evaluation": line.measured.name,
        "model": line.measured.settings["model.source"],
        "kind": line.kind,
        "tasks": len(line.measured.of_kind(line.kind)),
        "samples": rate.samples,
        "success": rate.share,
        "low": low,
        "high": high,
        **{f"pass@{k}": share.value for k, share in _pass_at(rate).items()},
        "score": line.score,
        "difference": None if more is None else more.value,
        "difference_low": None if more is None else more.low,
        "difference_high": None if more is None else more.high,
        "p": None if more is None else more.p,
    }


def _pass_at(rate: Rate) -> dict[int, Share]:
    return {k: rate.pass_at(k) for k in rate.ks} if rate.by_task else {}


def _columns(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the columns: the longest record's first, so that pass@k stands together."""
    longest = max(records, key=len)
    return list(dict.fromkeys(name for record in (longest, *records) for name in record))


def _csv(records: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(records), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _markdown(records: Sequence[Mapping[str, Any]]) -> str:
    columns = _columns(records)
    rows = [columns, ["---"] * len(columns), *([_cell(record.get(name)) for name in columns] for record in records)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: Any) -> str:
    """A value of a Markdown table; numbers with three digits after the point.

    >>> _cell(None), _cell(0.12345), _cell(8), _cell("a|b")
    ('', '0.123', '8', 'a\\\\|b')
    """
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _differing(evaluations: Sequence[Measured]) -> list[str]:
    """The names of the settings in which the evaluations differ, of those that may change what is measured."""
    names = sorted({name for one in evaluations for name in one.settings})
    served_here = all(one.settings.get("endpoint") is None for one in evaluations)
    return [
        name
        for name in names
        if _counts(name, served_here=served_here)
        and len({json.dumps(one.settings.get(name)) for one in evaluations}) > 1
    ]


def _counts(name: str, *, served_here: bool) -> bool:
    """Whether a setting may change what is measured. served_here: our engines answer in all evaluations."""
    group, _, inner = name.partition(".")
    if group in MACHINE_SETTINGS:
        return served_here and inner.partition(".")[0] in MACHINE_SETTINGS[group]
    return not any(f"{name}.".startswith(f"{neutral}.") for neutral in NEUTRAL)
