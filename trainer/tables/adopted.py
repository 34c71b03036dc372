"""Finished runs that are the cells of a table: found by their settings, in run folders and in reports of tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trainer.config.commands import EvaluateConfig, TrainConfig
from trainer.config.continuing import binding, differences
from trainer.config.defaults import defaults_of
from trainer.tables.planned import PlannedRow
from trainer.tables.recorded import recorded_runs
from trainer.tables.runs import CONFIG, Run, is_finished, is_measured, read_run

MEASURED = ("updates", "validation.every", "validation.tasks", "validation.temperature")
"""Settings that a resumed run may change, and a cell of a table may not."""


def adopted(folder: Path, rows: Sequence[PlannedRow]) -> dict[str, dict[int, Run]]:
    """Row -> seed -> its finished run in `folder`. Of a row that begins from a warm start, any model folder will do.

    Of several runs with a cell's settings, the first by name is taken, run folders before reports. A run that was never
    validated is none of them.
    """
    places = sorted(folder.iterdir())
    runs = [read_run(one) for one in places if (one / CONFIG).is_file() and is_finished(one) and is_measured(one)]
    runs += [run for one in places if one.suffix == ".json" for run in recorded_runs(one)]
    settings = [(run, _settings(TrainConfig, run.config)) for run in runs if "updates" in run.config]
    settings += [(run, _settings(EvaluateConfig, run.config)) for run in runs if "updates" not in run.config]
    by_row = dict[str, dict[int, Run]]()
    for row in rows:
        if row.config is None:
            continue
        for seed in row.cells:
            wanted = json.loads(json.dumps(asdict(replace(row.config, seed=seed)), default=str))
            for run, have in settings:
                if _same(type(row.config), have, wanted, any_model=bool(row.starts)):
                    by_row.setdefault(row.row.name, {})[seed] = run
                    break
    return by_row


def _same(kind: type, have: Mapping[str, Any], wanted: Mapping[str, Any], *, any_model: bool) -> bool:
    different = differences(kind, have, _settings(kind, wanted), defaults=_settings(kind, defaults_of(kind)))
    return {one.name for one in different} <= ({"model.source"} if any_model else set())


def _settings(kind: type, plain: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make a run what it is."""
    kept = binding(kind, plain)
    validation = plain.get("validation", {})
    if "updates" in plain:
        kept["updates"] = plain["updates"]
        kept["validation"] = {name: validation[name] for name in ("every", "tasks", "temperature")}
    return kept
