"""Whether the results of a cell are whole although its record does not say that it finished.

A sweep that is killed between the last file of a cell and its record leaves such a cell. Its command has nothing left
to do there and would be refused for ever.
"""

import json
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from trainer import checkpoint
from trainer.cells.cell import DONE, Cell, Outcome, State, outcome_of, write_outcome
from trainer.config.build import ConfigError
from trainer.report.metric_rows import METRICS, read_metrics
from trainer.setup.held_out import RESULT
from trainer.setup.past_run import check_checkpoint
from trainer.setup.preflight import written_config


def settled(cell: Cell) -> Outcome:
    """How far a cell is, before it is started. One whose results are whole has finished, and its record says so now."""
    outcome = outcome_of(cell)
    if outcome.state in DONE or not is_whole(cell):
        return outcome
    finished = replace(outcome, state=State.FINISHED, line="")
    write_outcome(finished)
    return finished


def is_whole(cell: Cell) -> bool:
    """Whether the folder of a cell holds all that its command leaves. Other commands than these are never known to."""
    match cell.command:
        case "train" | "fork":
            return _is_whole_run(cell.folder)
        case "evaluate":
            return _is_whole_evaluation(cell.folder / RESULT)
        case "warmstart":
            return _is_whole_model(cell.folder / "model")
        case _:
            return False


def _is_whole_run(folder: Path) -> bool:
    """Whether a run has done all its updates, the last validation and the last checkpoint among them."""
    if not (folder / METRICS).is_file():
        return False
    with suppress(ConfigError, ValueError):  # a file that was cut short: the command mends it, or says what is wrong
        config, rows, last = written_config(folder), read_metrics(folder), checkpoint.latest(folder)
        updates = (config or {}).get("updates", math.inf)
        validates = ((config or {}).get("validation") or {}).get("every") is not None
        if last is None or not rows or rows[-1]["update"] < updates:
            return False
        if validates and "validation/success" not in rows[-1]:
            return False
        check_checkpoint(last, "the cell is asked for")
        return checkpoint.update_of(last) >= updates
    return False


def _is_whole_model(folder: Path) -> bool:
    """Whether a warm start has exported its model, which gets its name when all its files are written."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _is_whole_evaluation(result: Path) -> bool:
    """Whether the file that an evaluation writes last is there to its end."""
    with suppress(FileNotFoundError, ValueError):
        return "tasks" in json.loads(result.read_text())
    return False
