"""What a user sees while a command runs: live bars on a terminal; plain lines elsewhere, at least every 30 s."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from trainer.report.repeating import repeating

EVERY_S = 30.0  # the longest silence
LOOK_S = 1.0  # between two looks at the clock


class Work:
    """Work under way: what it is, since when, and how far it is where that can be counted."""

    def __init__(self, what: str, begun: float, total: int | None = None) -> None:
        """begun: in seconds of the display's clock. total: units; None for work that cannot be counted."""
        self.what, self.begun, self.total = what, begun, total
        self.done = 0
        self.found = 0  # of them, those that were done before, which tell nothing of the pace

    def describe(self, now: float) -> str:
        """How far it is and how fast, as "rollouts 57/128 after 2 min, 28.5 a minute, 2 min left"."""
        elapsed = now - self.begun
        if self.total is None:
            return f"{self.what} for {duration(elapsed)}"
        far = f"{self.what} {self.done}/{self.total} after {duration(elapsed)}"
        made = self.done - self.found
        if not made or self.done >= self.total or elapsed <= 0:
            return far
        left = (self.total - self.done) * elapsed / made
        return f"{far}, {60 * made / elapsed:.3g} a minute, {duration(left)} left"


class Display:
    """Prints lines and shows progress bars. Without a terminal only lines appear, one every 30 s while work goes on."""

    def __init__(
        self,
        console: Console | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = EVERY_S,
    ) -> None:
        """every_s: the longest time without a line, while `beating`."""
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._clock, self._every_s = clock, every_s
        self._spoke = clock()
        self._stage: Work | None = None
        self._working: tuple[Work, ...] = ()  # the outermost first; replaced, never changed, because a thread reads it

    def stage(self, text: str) -> None:
        """Print what the command does next."""
        self._stage = Work(text, self._clock())
        self.line(Text.assemble(("· ", "dim"), text))

    def line(self, text: str | Text) -> None:
        """Print a result. A str is printed as it is: paths and names of tasks may have brackets, rich's markup."""
        self._spoke = self._clock()
        self.console.print(text, markup=False, emoji=False)

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator["Bar"]:
        """Show a bar for `total` units of work while the block runs. Nested bars are shown below each other."""
        self._progress.start()
        bar = self._progress.add_task(what, total=total)
        try:
            with self._under_way(Work(what, self._clock(), total)) as work:
                yield Bar(self._progress, bar, work)
        finally:
            self._progress.remove_task(bar)
            if not self._progress.task_ids:
                self._progress.stop()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Name work that cannot be counted. Nothing is printed unless it takes long."""
        with self._under_way(Work(what, self._clock())):
            yield

    def beating(self) -> AbstractContextManager[None]:
        """While the block runs, a thread prints a line whenever none was printed for `every_s`."""
        return repeating(self.beat, min(LOOK_S, self._every_s))

    def beat(self) -> None:
        """Print what is under way, if no line was printed for `every_s` and no bar shows it."""
        now = self._clock()
        work = self._working or ((self._stage,) if self._stage else ())
        if not work or now - self._spoke < self._every_s or self._progress.live.is_started:
            return
        unfinished = [part for part in work[:-1] if part.done != part.total]
        outer = [f"{part.what} {part.done}/{part.total}" if part.total else part.what for part in unfinished]
        self.line(Text(f"· {', '.join([*outer, work[-1].describe(now)])}", "dim"))

    @contextmanager
    def _under_way(self, work: Work) -> Iterator[Work]:
        outside, self._working = self._working, (*self._working, work)
        try:
            yield work
        finally:
            self._working = outside


class Bar:
    """Moves one progress bar."""

    def __init__(self, progress: Progress, bar: int, work: Work) -> None:
        self._progress, self._bar, self._work = progress, bar, work

    def advance(self, units: int = 1, *, found: bool = False) -> None:
        """So many more units of work are finished. found: they were finished before."""
        self._work.done += units
        self._work.found += units if found else 0
        self._progress.advance(self._bar, units)  # pyright: ignore[reportArgumentType]


def duration(seconds: float) -> str:
    """A duration as people say it: "45 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
