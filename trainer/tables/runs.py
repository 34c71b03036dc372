"""A finished run or evaluation as a table reads it: validations, outcomes by task, costs, conditions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config.build import ConfigError
from trainer.report.metric_rows import METRICS, read_metrics
from trainer.report.validations import read_validations
from trainer.setup.conditions import FILE as CONDITIONS
from trainer.setup.held_out import RESULT as EVALUATION
from trainer.setup.panels import FILE as PANEL
from trainer.setup.preflight import CONFIG

VALIDATION = "validation/"
OF_CONDITIONS = ("protocol", "deviations", "panel", "temperature", "packages")


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One pass over the held-out tasks."""

    update: int
    """Updates done before it."""
    values: Mapping[str, float]
    """Share or mean score, in [0, 1], by measure: "success", "score", "success depth 2"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run of one seed."""

    folder: Path
    """Where it lies."""
    config: Mapping[str, Any]
    """Its settings as plain values."""
    validations: tuple[Validation, ...]
    """In order; an evaluation has one, of update 0."""
    outcomes: Mapping[str, tuple[float, float]] | None
    """Task id -> share of its rollouts that solved it, and mean score, in the last validation; None where the run kept
    none."""
    kinds: Mapping[str, str]
    """Task id -> kind, of the last validation's panel; empty where the run kept no panel."""
    seconds: float
    """Wall-clock time of its updates and validations, without starting up; 0 where it was not kept."""
    tokens: float
    """Response tokens that it sampled for training: of rollouts, of replaced groups, and of revisions or retries."""
    conditions: Mapping[str, Any]
    """What its numbers must be read with, as `setup.conditions` states it."""

    @property
    def last(self) -> Validation:
        """The last validation."""
        return self.validations[-1]

    def best(self, measure: str) -> Validation:
        """The validation at which a measure is highest, the first of equals."""
        return max(self.validations, key=lambda one: one.values.get(measure, -1.0))

    def tasks_of(self, measure: str) -> int:
        """Tasks of the last validation behind a measure; 0 where that is not known."""
        counts = (self.conditions.get("panel") or {}).get("kinds", {})
        kind = measure.removeprefix("success ")
        return counts.get(kind, 0) if kind != measure else sum(counts.values())

    def by_task(self, measure: str) -> dict[str, float] | None:
        """Task id -> outcome behind a measure in the last validation; None where the run kept none."""
        if self.outcomes is None:
            return None
        kind = measure.removeprefix("success ")
        chosen = {task: one for task, one in self.outcomes.items() if kind == measure or self.kinds.get(task) == kind}
        return {task: score if measure == "score" else float(won) for task, (won, score) in chosen.items()} or None


def is_finished(folder: Path) -> bool:
    """Whether a folder holds an evaluation, or a training run that has done all its updates."""
    if (folder / EVALUATION).is_file():
        return True
    if not (folder / CONFIG).is_file() or not (folder / METRICS).is_file():
        return False
    rows = _whole_rows(folder)
    return bool(rows) and rows[-1]["update"] >= read_json(folder / CONFIG).get("updates", float("inf"))


def is_measured(folder: Path) -> bool:
    """Whether a finished run was validated, or is an evaluation: without, it gives no number."""
    return (folder / EVALUATION).is_file() or any(f"{VALIDATION}success" in row for row in _whole_rows(folder))


def finished_run(folder: Path) -> Run | None:
    """The run or evaluation in a folder; None for one that has not finished, or was never validated."""
    return read_run(folder) if is_finished(folder) and is_measured(folder) else None


def read_run(folder: Path) -> Run:
    """A finished run or evaluation. Raises ConfigError where a file of it is broken, or it has no validation."""
    evaluation = folder / EVALUATION
    try:
        return _of_result(folder, read_json(evaluation)) if evaluation.is_file() else _training(folder)
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        what, again = (evaluation, "evaluate") if evaluation.is_file() else (folder / CONFIG, "train")
        raise ConfigError(
            f"{what} is none of this version ({error!r}): {again} again, or move {folder} away"
        ) from error


def _training(folder: Path) -> Run:
    rows = _whole_rows(folder)
    config = read_json(folder / CONFIG)
    validations = tuple(
        Validation(
            update=int(row["update"]),
            values={name.removeprefix(VALIDATION): value for name, value in row.items() if name.startswith(VALIDATION)},
        )
        for row in rows
        if f"{VALIDATION}success" in row
    )
    if not validations:
        raise ConfigError(f"{folder} has no validation, so it gives no number: run it with validation.every=N")
    return Run(
        folder=folder,
        config=config,
        validations=validations,
        outcomes=read_validations(folder).get(validations[-1].update),
        kinds=_kinds(folder),
        seconds=sum(value for row in rows for name, value in row.items() if name.startswith("seconds/")),
        tokens=sum(_sampled(row, config) for row in rows if "rollout/response_tokens" in row),
        conditions=read_json(folder / CONDITIONS) if (folder / CONDITIONS).is_file() else {},
    )


def _sampled(row: Mapping[str, float], config: Mapping[str, Any]) -> float:
    """Response tokens that an update sampled."""
    rollouts = (config["groups_per_update"] - row.get("rollout/dropped_groups", 0.0)) * config["group_size"]
    own = rollouts * row["rollout/steps"] * row["rollout/response_tokens"]
    return own + row.get("rollout/replaced_tokens", 0.0) + row.get("revise/response_tokens", 0.0)


def _of_result(folder: Path, result: Mapping[str, Any]) -> Run:
    rates = {"success": result["overall"]} | {f"success {kind}": rate for kind, rate in result["by_kind"].items()}
    values = {name: rate["wins"] / rate["total"] for name, rate in rates.items()} | {"score": result["score"]}
    tasks = result.get("tasks", [])
    outcomes = {one["task_id"]: (one["wins"] / one["samples"], one["score"]) for one in tasks}
    return Run(
        folder=folder,
        config=read_json(folder / CONFIG),
        validations=(Validation(update=0, values=values),),
        outcomes=outcomes or None,
        kinds={one["task_id"]: one["kind"] for one in tasks},
        seconds=0.0,
        tokens=0.0,
        conditions={name: result[name] for name in OF_CONDITIONS if name in result},
    )


def _whole_rows(folder: Path) -> Sequence[Mapping[str, float]]:
    try:
        return read_metrics(folder)
    except ValueError as error:
        raise ConfigError(f"{folder / METRICS} is broken ({error}): go on with the run, which mends it") from error


def _kinds(folder: Path) -> dict[str, str]:
    if not (folder / PANEL).is_file():
        return {}
    return {task["task_id"]: task["kind"] for panel in read_json(folder / PANEL)["panels"] for task in panel["tasks"]}


def read_json(path: Path) -> dict[str, Any]:
    """An object of a run's folder. Raises ConfigError for a file that is not whole."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): bring a whole one back, or run the cell again") from error


def task_matrix(runs: Sequence[Run], measure: str) -> np.ndarray | None:
    """Outcomes [seed, task] of runs that played the same tasks; None where a run kept none, or played others."""
    rows = [run.by_task(measure) for run in runs]
    if not rows or any(row is None or row.keys() != (rows[0] or {}).keys() for row in rows):
        return None
    return np.array([[row[task] for task in sorted(row)] for row in rows if row is not None])
