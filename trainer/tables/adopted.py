"""Finished runs that are the cells of a table: found by their settings, in run folders and in reports of tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from trainer.cells.cell import FOLDER as CELLS
from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig
from trainer.config.continuing import Difference, binding, differences, plain
from trainer.config.defaults import defaults_of
from trainer.setup.held_out import fixed_settings
from trainer.tables.planned import PlannedRow
from trainer.tables.recorded import recorded_runs
from trainer.tables.runs import CONFIG, Run, finished_run, read_json

PLANNED = "learner.zero_stage"
"""A setting that follows from the GPUs that a run got: all stages learn the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A run that may be a cell's; one in a folder is read when its settings are."""

    name: str
    config: Mapping[str, Any]
    source: Path | Run

    def read(self) -> Run | None:
        """The run; None for one that has not finished, or was never validated."""
        return finished_run(self.source) if isinstance(self.source, Path) else self.source


def adopted(folder: Path, rows: Sequence[PlannedRow]) -> dict[str, dict[int, Run]]:
    """Row -> seed -> its finished run in `folder`. Of a row that begins from a warm start, any model folder will do.

    Of several runs with a cell's settings, one from the cell's own warm start is taken, else the first by name, run
    folders before reports. Raises ConfigError where no run is any row's, and for a broken file of one that is.
    """
    candidates = _candidates(folder)
    by_row = dict[str, dict[int, Run]]()
    for row, seed, wanted in _cells(rows):
        same = [one for one in candidates if different(row, wanted, one.config) == set()]
        own_start_first = sorted(same, key=lambda one: not _began(one, row, seed))
        read = (run for one in own_start_first if (run := one.read()) is not None and _plays(run, row, wanted))
        if (run := next(read, None)) is not None:
            by_row.setdefault(row.row.name, {})[seed] = run
    if not by_row:
        raise ConfigError(_nothing(folder, rows, candidates))
    return by_row


def _candidates(folder: Path) -> list[_Candidate]:
    places = [*sorted(folder.iterdir()), *sorted((folder / CELLS).glob("*/"))]  # a table's own folder has cells
    here = [
        _Candidate(name=place.name, config=read_json(place / CONFIG), source=place)
        for place in places
        if (place / CONFIG).is_file()
    ]
    recorded = (run for place in places if place.suffix == ".json" for run in recorded_runs(place))
    return here + [_Candidate(name=run.folder.name, config=run.config, source=run) for run in recorded]


def _cells(rows: Sequence[PlannedRow]) -> Iterator[tuple[PlannedRow, int, Mapping[str, Any]]]:
    """Row, seed and the settings of their cell."""
    for row in rows:
        if row.config is not None:
            for seed in row.cells:
                yield row, seed, wanted_of(row, seed)


def wanted_of(row: PlannedRow, seed: int) -> Mapping[str, Any]:
    """The settings of a row's cell. The row must have a config."""
    assert row.config is not None
    return plain(replace(row.config, seed=seed))


def _nothing(folder: Path, rows: Sequence[PlannedRow], candidates: Sequence[_Candidate]) -> str:
    """Why no run was taken: the one that comes nearest to a cell, and what it differs in."""
    line = f"runs={folder} holds no finished run with the settings of a row"
    near = [
        (names, one.name, row.row.name, seed)
        for row, seed, wanted in _cells(rows)
        for one in candidates
        if (names := different(row, wanted, one.config)) is not None
    ]
    if not near:
        return f"{line}, of {len(candidates)} runs: name the folder that holds the runs' own folders"
    names, name, row, seed = min(near, key=lambda one: len(one[0]))
    why = f"differs in {', '.join(sorted(names))}" if names else "has not finished, or was never validated"
    return f"{line}, of {len(candidates)} runs: {name}, the nearest, {why} from row {row}, seed {seed}"


def _began(run: _Candidate, row: PlannedRow, seed: int) -> bool:
    """Whether a run began from the very warm start of a cell. Tables of other starts may have equal settings."""
    return seed in row.starts and row.starts[seed].digest in Path(run.config["model"]["source"] or "").parts


def different(row: PlannedRow, wanted: Mapping[str, Any], have: Mapping[str, Any]) -> set[str] | None:
    """The settings in which a run is not a row's cell; None for a run of another command.

    What a run's plan chose for its GPUs is no difference, nor where its warm start and its world's files lie.
    """
    kind = type(row.config)
    if ("updates" in have) != (kind is TrainConfig):
        return None
    served_here = _served_here(have) and _served_here(wanted)
    settings = _settings_that_count(kind, served_here=served_here)
    defaults = _defaults_that_count(kind, served_here=served_here)
    all_of = differences(kind, settings(have), settings(wanted), defaults=defaults)
    names = {one.name for one in all_of if not _is_place(one)}
    return names - {PLANNED} - ({"model.source"} if row.starts else set())


def _is_place(difference: Difference) -> bool:
    """Whether the two differ in where files of the world lie. What is in them, the panels tell."""
    return difference.name.startswith("env.options.") and _is_path(difference.before) and _is_path(difference.now)


def _is_path(value: Any) -> bool:
    return str(value).startswith("/")


def _plays(run: Run, row: PlannedRow, wanted: Mapping[str, Any]) -> bool:
    """Whether a run played the row's tasks. Where its world's files lie elsewhere, its panel tells."""
    of_run, of_row = (
        {name: value for name, value in one["env"]["options"].items() if _is_path(value)}
        for one in (run.config, wanted)
    )
    if of_run == of_row:
        return True
    return row.panel is not None and (run.conditions.get("panel") or {}).get("digest") == row.panel.digest


def _settings_that_count(kind: type, *, served_here: bool) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return _trainings if kind is TrainConfig else partial(_evaluations, served_here=served_here)


@cache
def _defaults_that_count(kind: type, *, served_here: bool) -> Mapping[str, Any]:
    """Made once: every cell is compared with every run."""
    return _settings_that_count(kind, served_here=served_here)(defaults_of(kind))


def _served_here(settings: Mapping[str, Any]) -> bool:
    """Whether our own engines answer, and no endpoint."""
    return settings.get("endpoint") is None


def _trainings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make a run what it is: those that bind it, its updates and its validations."""
    kept, validation = binding(TrainConfig, settings), settings.get("validation", {})
    measured = {name: validation[name] for name in ("every", "tasks", "temperature") if name in validation}
    return kept | {"updates": settings["updates"], "validation": measured}


def _evaluations(settings: Mapping[str, Any], *, served_here: bool) -> dict[str, Any]:
    """The settings that make an evaluation what it is: those that its own continuation keeps, and how often it plays.

    An earlier version that did not name its samples played one of each task.
    """
    return fixed_settings(settings, served_here=served_here) | {"samples": settings.get("samples", 1)}
