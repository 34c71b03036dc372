"""What a table's folder remembers of its beginning, so that no other table and no other tasks are mixed into it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from envs.panel import Panel
from trainer.cells.cell import Cell, State, outcome_of
from trainer.config.build import ConfigError
from trainer.durable import write_whole
from trainer.setup.panels import FILE as PANEL
from trainer.setup.panels import changed_since, write_panel
from trainer.tables.adopted import different, wanted_of
from trainer.tables.planned import PlannedRow
from trainer.tables.runs import CONFIG, read_json

FILE = "table.json"
PANELS = "panels"
"""A folder for the panel of each row, by the row's name."""


def check_begun(folder: Path, name: str, rows: Sequence[PlannedRow]) -> None:
    """Raises ConfigError where the folder holds another table, other settings of a row, or other tasks.

    A row's settings may be others though its words are the same, as where a preset was edited.
    """
    before = _read(folder)
    if before is None:
        return
    if before["name"] != name:
        raise ConfigError(
            f"output={folder} holds cells of table {before['name']!r}, not of {name!r}: choose another output folder"
        )
    for key, cell in _cells(rows).items():
        was = before["cells"].get(key)
        if was is not None and was["digest"] != cell.digest:
            changed = sorted(set(was["words"]) ^ set(cell.words))
            raise ConfigError(
                f"{key} in {folder} was begun with other settings ({', '.join(changed)} differ): set them back, or "
                "choose another output folder"
            )
    for place, panel in _panels(folder, rows):
        changed_since(place, panel, may_choose=False)
    for row in rows:
        if row.config is None or row.missing:  # what it lacks may change its settings
            continue
        for seed, cell in row.cells.items():
            if outcome_of(cell).state is State.FINISHED:
                _check_played(row, seed, cell)


def _check_played(row: PlannedRow, seed: int, cell: Cell) -> None:
    """Raises ConfigError where a finished cell was played with other settings than the row has now."""
    names = different(row, wanted_of(row, seed), read_json(cell.folder / CONFIG))
    if names:
        raise ConfigError(
            f"row {row.row.name}, seed {seed}, was played with other settings ({', '.join(sorted(names))} differ; see "
            f"{cell.folder / CONFIG}): set them back, or choose another output folder"
        )


def begin(folder: Path, name: str, rows: Sequence[PlannedRow]) -> None:
    """Remember the table's cells and panels, beside those that the folder remembers already."""
    before = _read(folder) or {"cells": {}}
    cells = {key: {"digest": cell.digest, "words": list(cell.words)} for key, cell in _cells(rows).items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / FILE, json.dumps({"name": name, "cells": before["cells"] | cells}, indent=1))
    for place, panel in _panels(folder, rows):
        if not (place / PANEL).is_file():  # a kill may have left the folder alone
            place.mkdir(parents=True, exist_ok=True)
            write_panel(place, panel)


def _cells(rows: Sequence[PlannedRow]) -> Mapping[str, Cell]:
    """The cells that can run here: what a row lacks may change its settings."""
    able = [row for row in rows if not row.missing]
    return {f"row {row.row.name}, seed {seed}": cell for row in able for seed, cell in row.cells.items()}


def _panels(folder: Path, rows: Sequence[PlannedRow]) -> Iterator[tuple[Path, Panel]]:
    """The panel of each row that has one, with its place."""
    for row in rows:
        if row.panel is not None:
            yield folder / PANELS / row.row.name, row.panel


def _read(folder: Path) -> dict[str, Any] | None:
    if not (folder / FILE).is_file():
        return None
    try:
        values = json.loads((folder / FILE).read_text())
        return {"name": values["name"], "cells": dict(values["cells"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / FILE} is broken ({error}): bring a whole one back, or remove it") from error
