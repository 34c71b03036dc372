"""A cell: one ordinary `stepcredit` command of a table or a sweep, in a folder of its own, and how it ended."""

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from trainer.config.build import ConfigError
from trainer.config.quoting import SINGLE, quoted
from trainer.durable import write_whole

FOLDER = "cells"  # of a table or a sweep
DIGITS = 10  # of a cell's digest


class State(StrEnum):
    """How far a cell is."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    REFUSED = "refused"
    FAILED = "failed"
    PRUNED = "pruned"


DONE = (State.FINISHED, State.PRUNED)
"""A cell in one of these is not run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One command with its settings. Equal commands with equal settings have one digest, and one folder.

    >>> cell = cell_of("train", ["seed=1", "estimator=grpo"], Path("sweep"))
    >>> cell.words, cell.folder.parent
    (('estimator=grpo', 'seed=1'), PosixPath('sweep/cells'))
    """

    command: str
    """Name of the command, such as "train"."""
    words: tuple[str, ...]
    """Its overrides in canonical order, without `output` and `resume`."""
    folder: Path
    """Where it writes. Its log and its record lie beside: FOLDER.log, FOLDER.json."""
    title: str
    """What a person calls it."""
    writes: Literal["folder", "file", "nothing"] = "folder"
    """What the setting `output` of its command names; a file is FOLDER.jsonl."""
    resumes: bool = True
    """Whether its command goes on with a half-finished folder by resume=auto."""
    cpus: int | None = 0
    """Cores that it takes; 0 counts none, None all of a machine."""
    gpus: int = 0
    """GPUs of one machine that it takes."""
    job_cpus: int = 0
    """Cores that a job of its own asks for; 0 leaves it to the queue."""
    job_bytes: int = 0
    """Host memory that a job of its own asks for; 0 leaves it to the queue."""

    @property
    def digest(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def log(self) -> Path:
        """All that the command writes to standard output and standard error."""
        return self.folder.with_name(f"{self.digest}.log")

    @property
    def call(self) -> tuple[str, ...]:
        """The words after `stepcredit`."""
        place = self.folder if self.writes == "folder" else self.folder.with_name(f"{self.digest}.jsonl")
        output = () if self.writes == "nothing" else (f"output={quoted(str(place.absolute()), SINGLE)}",)
        return (*self.command.split(), *self.words, *output, *(("resume=auto",) if self.resumes else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How far a cell came."""

    cell: Cell
    """Which one."""
    state: State
    """How far it is."""
    line: str = ""
    """The last line of a command that did not finish."""
    seconds: float = 0.0
    """Wall-clock time, of all its starts together."""


def cell_of(command: str, words: Sequence[str], folder: Path, *, title: str = "", **needs: Any) -> Cell:
    """The cell of `command` with `words` in a sweep's or a table's `folder`. needs: further fields of Cell."""
    ordered = canonical(words)
    place = folder / FOLDER / short_digest(command, *ordered)
    return Cell(command=command, words=ordered, folder=place, title=title or " ".join(ordered), **needs)


def room_of(cluster: Any) -> dict[str, int | None]:
    """The cores and GPUs that a cell with this cluster takes: none of its own if it joins one, or has no cluster.

    A cell on GPUs that does not say how many cores counts none: its GPUs are what is scarce.
    """
    if cluster is None or cluster.address is not None:
        return {"cpus": 0, "gpus": 0}
    return {"cpus": 0 if cluster.gpus and cluster.cpus is None else cluster.cpus, "gpus": cluster.gpus}


def short_digest(*words: str) -> str:
    """A short name for words."""
    return hashlib.blake2b("\0".join(words).encode()).hexdigest()[:DIGITS]


def canonical(words: Sequence[str]) -> tuple[str, ...]:
    """Overrides sorted by what they set, so that their order makes no other cell.

    Raises ConfigError for a setting that is set twice.
    """
    keys = [key_of(word) for word in words]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ConfigError(f"{twice[0]} is set twice in {' '.join(words)}: leave one of them out")
    return tuple(sorted(words, key=key_of))


def key_of(word: str) -> str:
    """The setting or group that an override sets.

    >>> key_of("+env.options.depth=2"), key_of("~world_model")
    ('env.options.depth', 'world_model')
    """
    return word.partition("=")[0].lstrip("+~")


def outcome_of(cell: Cell) -> Outcome:
    """What the record beside a cell's folder says. A cell that finished and whose results are gone waits again."""
    record = cell.folder.with_name(f"{cell.digest}.json")
    if not record.is_file():
        return Outcome(cell=cell, state=State.WAITING)
    with _record(record) as values:
        outcome = Outcome(cell=cell, state=State(values["state"]), line=values["line"], seconds=values["seconds"])
    gone = outcome.state in DONE and cell.writes == "folder" and not cell.folder.is_dir()
    return Outcome(cell=cell, state=State.WAITING, seconds=outcome.seconds) if gone else outcome


def recorded_cell(record: Path, **needs: Any) -> Cell:
    """The cell of a record beside its folder. needs: the fields of Cell that a record does not keep.

    Raises ConfigError for a file that is none.
    """
    with _record(record) as values:
        command, words, title = values["command"], tuple(values["words"]), values["title"]
    return Cell(command=command, words=words, folder=record.with_suffix(""), title=title, **needs)


@contextmanager
def _record(file: Path) -> Generator[Any]:
    """What is written in a record. Raises ConfigError where the block does not find in it what it needs."""
    try:
        yield json.loads(file.read_text())
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is no record of a cell ({error}): remove it to run the cell again") from error


def write_outcome(outcome: Outcome) -> None:
    """Keep how a cell ended beside its folder."""
    cell = outcome.cell
    values = {"command": cell.command, "words": list(cell.words), "title": cell.title}
    values |= {"state": outcome.state, "line": outcome.line, "seconds": round(outcome.seconds, 3)}
    cell.folder.parent.mkdir(parents=True, exist_ok=True)
    write_whole(cell.folder.with_name(f"{cell.digest}.json"), json.dumps(values, indent=2) + "\n")
