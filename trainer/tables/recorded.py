"""Runs as a table's report keeps them, so that a later report can take them in when their folders are gone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.config.build import ConfigError
from trainer.tables.runs import Run, Validation


def raw(run: Run) -> dict[str, Any]:
    """All that a table reads of a run, as plain values."""
    return {
        "folder": run.folder.name,
        "validations": [{"update": one.update, **one.values} for one in run.validations],
        "seconds": run.seconds,
        "tokens": run.tokens,
        "conditions": dict(run.conditions),
        "outcomes": run.outcomes,
        "kinds": dict(run.kinds),
        "config": dict(run.config),
    }


def recorded_runs(path: Path) -> tuple[Run, ...]:
    """The runs of a report.json, whatever it is called; none for a file that is no report.

    Raises ConfigError for a broken one.
    """
    try:
        report = json.loads(path.read_text())
        if not isinstance(report, dict) or not {"table", "runs"} <= report.keys():
            return ()
        return tuple(_run(path.parent, one) for of_row in report["runs"].values() for one in of_row.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is a broken report ({error!r}): bring a whole one back, or move it away") from error


def _run(folder: Path, kept: Mapping[str, Any]) -> Run:
    values = [dict(one) for one in kept["validations"]]
    outcomes = kept["outcomes"]
    return Run(
        folder=folder / kept["folder"],
        config=kept["config"],
        validations=tuple(Validation(update=one.pop("update"), values=one) for one in values),
        outcomes=None if outcomes is None else {task: (won, score) for task, (won, score) in outcomes.items()},
        kinds=kept["kinds"],
        seconds=kept["seconds"],
        tokens=kept["tokens"],
        conditions=kept["conditions"],
    )
