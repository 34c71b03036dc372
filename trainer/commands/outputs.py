"""Every run of a command writes to a place of its own: claimed before anything is planned, given back if left empty."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from trainer.cells.cell import DIGITS, short_digest
from trainer.commands.marker import MARKER, Taken, beating, give_back, holder_of, is_beating, make_whole, take_over
from trainer.commands.table import Output
from trainer.config.build import ConfigError
from trainer.setup.go_on import training_of_quickstart

LONGEST_NAME = 120  # characters; a file system takes 255 bytes
SWEEP_CONFIG = "multirun.yaml"  # Hydra writes it into a sweep's folder before it checks the sweep
_UNSAFE = re.compile(r"[^\w.+-]+", re.ASCII)


class SweepFolder:
    """The folder of a sweep, made when Hydra first asks for its name."""

    def __init__(self, path: Path | None = None) -> None:
        """path: the folder of a sweep that goes on."""
        self.path = path

    def __call__(self) -> str:
        """A new folder, the same one each time."""
        if self.path is None:
            self.path = _first_free(Path.cwd() / "outputs" / "sweeps" / now(), _make)
        return str(self.path)

    def drop_if_unused(self) -> None:
        """Remove the folder if no job has left anything in it."""
        if (
            self.path is not None
            and self.path.is_dir()
            and {file.name for file in self.path.iterdir()} <= {SWEEP_CONFIG}
        ):
            (self.path / SWEEP_CONFIG).unlink(missing_ok=True)
            _remove_empty([self.path, *self.path.parents][:3])


def now() -> str:
    """This second as a part of a path."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}"


def plain_name(text: str) -> str:
    """`text` as a name that neither a shell nor Hydra reads anything into. The end of a long one is its digest.

    >>> plain_name("estimator=gigpo_seed=1"), plain_name("learner.betas=[0.9,0.95]")
    ('estimator-gigpo_seed-1', 'learner.betas-0.9-0.95')
    """
    name = _UNSAFE.sub("-", text).strip("-")
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - DIGITS - 1]}-{short_digest(text)}"


@contextmanager
def claimed(place: Path, output: Output, *, chosen: bool, resumes: bool) -> Iterator[Path]:
    """Hold the place of a command's results while the block runs. Yields the place.

    chosen: somebody chose the place. Where nobody did and it is taken, the next name is held: "-2", "-3" and so on.
    resumes: the command goes on with what is there.
    Raises ConfigError for a place that is in use or that holds results.
    """

    def claim(path: Path) -> Path:
        try:
            return _claim_folder(path, output, resumes=resumes) if output.leaves else _claim_file(path)
        except OSError as error:
            raise _unwritable(path, error) from error

    try:
        was_there, missing = place.exists(), [parent for parent in place.parents if not parent.exists()]
    except OSError as error:  # a folder that may not be searched, a name that is too long
        raise _unwritable(place, error) from error
    path = claim(place) if chosen or not output.numbered else _first_free(place, claim)
    try:
        with beating(path / MARKER) if output.leaves else nullcontext():
            yield path
    finally:
        if output.leaves:
            give_back(path / MARKER)
        elif path.is_file() and not path.stat().st_size:
            path.unlink()
        own = [] if path == place and was_there else [path]
        _remove_empty([*(own if output.leaves else ()), *missing])


def _first_free(place: Path, claim: Callable[[Path], Path]) -> Path:
    """`place`, or the first of place-2, place-3 ... that can be claimed."""
    ending = place.suffix if place.suffix in (".jsonl", ".html") else ""
    for number in count(1):
        path = place if number == 1 else place.with_name(f"{place.name.removesuffix(ending)}-{number}{ending}")
        with suppress(Taken):
            return claim(path)
    raise AssertionError("count() does not end")


def _make(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        raise Taken(f"{folder} is there already: choose another") from None
    return folder


def _claim_folder(folder: Path, output: Output, *, resumes: bool) -> Path:
    """Make the folder, if it is not there, and its marker. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    marker, elsewhere = folder / MARKER, "choose another output folder"
    taken = Taken(f"output={folder} was taken by another process just now: {elsewhere}")
    if (holder := holder_of(marker)) is not None:
        user = f"process {holder.pid} on {holder.host}"
        if holder.is_alive:
            raise Taken(f"output={folder} is in use by {user}: {elsewhere}, or wait until it has ended")
        if not holder.is_here and not resumes:
            raise Taken(f"output={folder} is in use by {user}: {elsewhere}, or remove {marker} if it has ended")
        if not holder.is_here and is_beating(marker):
            raise Taken(f"output={folder} is in use by {user}, which still runs: end it, or {elsewhere}")
        if not take_over(marker, holder):
            raise taken
    elif not make_whole(marker):
        raise taken
    if not resumes and any((folder / name).exists() for name in output.leaves):
        marker.unlink()
        word = output.go_on or ("resume=auto" if output.resumable else None)
        go_on = None if word is None else f"go on with {word.format(folder=folder)}"
        remedy = go_on or training_of_quickstart(folder) or "remove it"
        raise Taken(f"{folder} already holds {output.what}: {remedy}, or {elsewhere}")
    return folder


def _claim_file(path: Path) -> Path:
    """Make an empty file, in whose place the command puts its results. Returns it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.open("x").close()
    except FileExistsError:
        raise Taken(f"output={path} is there already: remove it, or choose another file") from None
    return path


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"output={path} cannot be written ({error.strerror}): choose another place")


def _remove_empty(folders: list[Path]) -> None:
    """Remove each folder in turn, up to the first that is not empty or not there."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
