"""Runs cells: as many at once as there is room for, each once; one that is refused or fails stops no other.

Consumes cells, waits for their processes, produces their outcomes. What a cell has finished is never repeated.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager, nullcontext

from rich.text import Text

from trainer.cells.cell import DONE, Cell, Outcome, State, outcome_of
from trainer.cells.child import PROGRAM, Child
from trainer.cells.launcher import Launcher
from trainer.cells.ray_site import RaySite
from trainer.cells.site import LOOK_S, Running, Site, end_each
from trainer.cells.slurm_site import SlurmSite
from trainer.cells.whole import settled
from trainer.cells.workers import Workers
from trainer.config.build import ConfigError
from trainer.report.progress import Bar, Display, duration
from trainer.setup.machine import gpus_here

MARKS: Mapping[State, str] = {State.FINISHED: "green", State.PRUNED: "yellow"}


class Here:
    """This machine. Cells at once share its cores and GPUs; each sees the GPUs that it was given and no others."""

    look_s = LOOK_S

    def __init__(
        self,
        parallel: int,
        *,
        gpus: Sequence[str],
        cpus: int,
        program: tuple[str, ...] = PROGRAM,
        workers: Workers | None = None,
    ) -> None:
        """gpus: by the names that CUDA_VISIBLE_DEVICES takes. workers: run the cells in the place of `program`."""
        self.parallel, self._workers = parallel, workers
        self._gpus, self._cpus, self._program = tuple(gpus), cpus, program
        self._held: list[tuple[Child, tuple[str, ...]]] = []

    def check(self, cell: Cell) -> None:
        if cell.gpus > len(self._gpus):
            raise ConfigError(
                f"a cell takes cluster.gpus={cell.gpus} and this machine has {len(self._gpus)}: lower it, or launch "
                "the cells on a cluster"
            )
        cpus = self._cpus if cell.cpus is None else cell.cpus
        if cpus * self.parallel > self._cpus and self.parallel > 1:
            raise ConfigError(
                f"{self.parallel} cells at once of {cpus} cores each, and this machine has {self._cpus}: set "
                f"cluster.cpus={max(1, self._cpus // self.parallel)}, or run fewer at once"
            )

    def start(self, cell: Cell) -> Child | None:
        self._held = [(child, gpus) for child, gpus in self._held if child.is_alive]
        taken = {gpu for _, gpus in self._held for gpu in gpus}
        free = [gpu for gpu in self._gpus if gpu not in taken]
        if cell.gpus > len(free):
            return None
        gpus = tuple(free[: cell.gpus])
        visible = gpus if cell.gpus else None
        child = Child(cell, program=self._program, gpus=visible, workers=self._workers)
        self._held.append((child, gpus))
        return child

    def end_all(self, running: Sequence[Running]) -> None:
        end_each(running)

    def close(self) -> None:
        """Nothing: cells that run have been ended."""


class Watcher:
    """Hears of each cell, and may end one early. This one does neither."""

    def changed(self, outcome: Outcome) -> None:
        """A cell was started, or has ended."""

    def verdict(self, cell: Cell) -> str | None:
        """Why a running cell is to be ended now; None lets it run."""
        del cell


def run_cells(
    cells: Iterable[Cell],
    *,
    launcher: Launcher,
    display: Display,
    watcher: Watcher | None = None,
    site: Site | None = None,
    count: int | None = None,
) -> tuple[Outcome, ...]:
    """Run all cells that have not finished. Returns an outcome for each, in the order of the cells.

    cells: a sequence is checked whole before anything starts; another iterable is asked for a cell when there is room
    for one, and `count` says how many there will be. watcher: hears of each start and end. site: where they run, in the
    place of the launcher's; the caller closes it. A signal ends the running cells in order; they and the rest wait for
    the next call. Raises ConfigError for what cannot be launched.
    """
    with nullcontext(site) if site is not None else opened(launcher) as place:
        checked = _checked(cells, place)
        if isinstance(cells, Sequence):
            check_distinct(cells)
            checked = iter(list(checked))
        launching = _Launching(place, display, watcher or Watcher())
        with display.counting("cells", count or (len(cells) if isinstance(cells, Sized) else 0)) as bar:
            return launching.run(checked, bar)


def _checked(cells: Iterable[Cell], site: Site) -> Iterator[Cell]:
    """The cells, each when the site has agreed to it. Raises ConfigError for one for which there is no room."""
    for cell in cells:
        site.check(cell)
        yield cell


@contextmanager
def opened(launcher: Launcher) -> Iterator[Site]:
    """Where the launcher starts cells, for the length of the block. Cells of this machine keep parts that long."""
    with closing(Workers()) as workers, closing(site_of(launcher, workers)) as site:
        yield site


def site_of(launcher: Launcher, workers: Workers) -> Site:
    """That place. workers: for cells of this machine that keep their parts."""
    if launcher.kind == "ray":
        return RaySite(launcher.address, launcher.parallel)
    if launcher.kind == "submitit":
        return SlurmSite(launcher.executor, launcher.job, launcher.parallel)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [name for name in visible.split(",") if name] if visible is not None else map(str, range(gpus_here()))
    kept = workers if launcher.keep_parts else None
    return Here(launcher.parallel or 1, gpus=list(gpus), cpus=os.cpu_count() or 1, workers=kept)


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """0 if all cells finished or were pruned, 2 if all were refused, else 1."""
    states = {outcome.state for outcome in outcomes}
    return 0 if states <= set(DONE) else 2 if states == {State.REFUSED} else 1


def check_distinct(cells: Iterable[Cell]) -> None:
    """Raises ConfigError for two cells of one folder."""
    folders = dict[str, Cell]()
    for cell in cells:
        if (other := folders.setdefault(str(cell.folder), cell)) is not cell:
            raise ConfigError(f"two cells are the same: {other.title} and {cell.title}; leave one of them out")


class _Launching:
    """The state of one call of `run_cells`."""

    def __init__(self, site: Site, display: Display, watcher: Watcher) -> None:
        self._site, self._display, self._watcher = site, display, watcher
        self._running = dict[str, Running]()
        self._pruned = set[str]()  # folders
        self._outcomes = dict[str, Outcome]()  # by folder, in the order of the cells

    def run(self, cells: Iterator[Cell], bar: Bar) -> tuple[Outcome, ...]:
        waiting = None
        try:
            while True:
                waiting = self._start(cells, waiting, bar)
                if waiting is None and not self._running:
                    return tuple(self._outcomes.values())
                time.sleep(self._site.look_s)
                self._look(bar)
        except BaseException:
            self._end_all()
            raise

    def _start(self, cells: Iterator[Cell], waiting: Cell | None, bar: Bar) -> Cell | None:
        """Start cells while there is room. Returns the one that waits for room."""
        while self._site.parallel is None or len(self._running) < self._site.parallel:
            cell = waiting or next(cells, None)
            if cell is None:
                return None
            earlier = outcome_of(cell) if waiting is not None else settled(cell)
            if earlier.state in DONE:
                self._outcomes[str(cell.folder)] = earlier
                self._watcher.changed(earlier)
                bar.advance(found=True)
            elif (job := self._site.start(cell)) is None:
                return cell
            else:
                self._display.line(Text.assemble(("· ", "dim"), f"{cell.title} ", (cell.digest, "dim")))
                self._running[str(cell.folder)] = job
                self._outcomes[str(cell.folder)] = Outcome(cell=cell, state=State.RUNNING, seconds=earlier.seconds)
                self._watcher.changed(self._outcomes[str(cell.folder)])
            waiting = None
        return waiting

    def _look(self, bar: Bar) -> None:
        """Take up the cells that have ended, and end those that the watcher wants ended."""
        for folder, running in list(self._running.items()):
            outcome = running.outcome()
            if outcome is not None:
                del self._running[folder]
                self._take(outcome)
                bar.advance()
            elif folder not in self._pruned and (why := self._watcher.verdict(running.cell)) is not None:
                self._pruned.add(folder)
                running.end(State.PRUNED, why)

    def _take(self, outcome: Outcome) -> None:
        self._outcomes[str(outcome.cell.folder)] = outcome
        self._watcher.changed(outcome)
        color = MARKS.get(outcome.state, "red")
        why = f": {outcome.line}" if outcome.line else ""
        words = f" {outcome.cell.title} after {duration(outcome.seconds)}{why}"
        self._display.line(Text.assemble((outcome.state, color), words))

    def _end_all(self) -> None:
        """End what runs, as far as the interruption's patience goes."""
        line = self._site.end_all(tuple(self._running.values()))
        if line is not None:
            self._display.line(line)
        while self._running:
            for folder, running in list(self._running.items()):
                if (outcome := running.outcome()) is not None:
                    del self._running[folder]
                    self._watcher.changed(outcome)
            if self._running:
                time.sleep(LOOK_S)
