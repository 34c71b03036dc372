"""Finished runs that are the cells of a table: found by their settings, in run folders and in reports of tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from trainer.config.commands import TrainConfig
from trainer.config.continuing import binding, differences
from trainer.config.defaults import defaults_of
from trainer.setup.held_out import fixed_settings
from trainer.tables.planned import PlannedRow
from trainer.tables.recorded import recorded_runs
from trainer.tables.runs import CONFIG, Run, is_finished, is_measured, read_run

MEASURED = ("updates", "validation.every", "validation.tasks", "validation.temperature")
"""Settings that a resumed run may change, and a cell of a table may not."""


def adopted(folder: Path, rows: Sequence[PlannedRow]) -> dict[str, dict[int, Run]]:
    """Row -> seed -> its finished run in `folder`. Of a row that begins from a warm start, any model folder will do.

    Of several runs with a cell's settings, one from the cell's own warm start is taken, else the first by name, run
    folders before reports. A run that was never validated is none of them.
    """
    places = sorted(folder.iterdir())
    runs = [read_run(one) for one in places if (one / CONFIG).is_file() and is_finished(one) and is_measured(one)]
    runs += [run for one in places if one.suffix == ".json" for run in recorded_runs(one)]
    by_row = dict[str, dict[int, Run]]()
    for row in rows:
        if row.config is None:
            continue
        for seed in row.cells:
            wanted = json.loads(json.dumps(asdict(replace(row.config, seed=seed)), default=str))
            same = partial(_same, type(row.config), wanted=wanted, any_model=bool(row.starts))
            if found := [run for run in runs if same(run.config)]:
                by_row.setdefault(row.row.name, {})[seed] = min(found, key=lambda run: not _began(run, row, seed))
    return by_row


def _began(run: Run, row: PlannedRow, seed: int) -> bool:
    """Whether a run began from the very warm start of a cell. Tables of other starts may have equal settings."""
    return seed in row.starts and row.starts[seed].digest in Path(run.config["model"]["source"] or "").parts


def _same(kind: type, have: Mapping[str, Any], *, wanted: Mapping[str, Any], any_model: bool) -> bool:
    if ("updates" in have) != (kind is TrainConfig):
        return False  # a run is no evaluation
    settings = partial(_evaluations, served_here=_served_here(have) and _served_here(wanted))
    settings = _trainings if kind is TrainConfig else settings
    different = differences(kind, settings(have), settings(wanted), defaults=settings(defaults_of(kind)))
    return {one.name for one in different} <= ({"model.source"} if any_model else set())


def _served_here(plain: Mapping[str, Any]) -> bool:
    """Whether our own engines answer, and no endpoint."""
    return plain.get("endpoint") is None


def _trainings(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make a run what it is."""
    kept, validation = binding(TrainConfig, plain), plain.get("validation", {})
    measured = {name: validation[name] for name in ("every", "tasks", "temperature") if name in validation}
    return kept | {"updates": plain["updates"], "validation": measured}


def _evaluations(plain: Mapping[str, Any], *, served_here: bool) -> dict[str, Any]:
    """The settings that make an evaluation what it is: those that its own continuation keeps, and how often it plays.

    An earlier version that did not name its samples played one of each task.
    """
    return fixed_settings(plain, served_here=served_here) | {"samples": plain.get("samples", 1)}
