"""What a user sees while a command runs: live progress bars on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display:
    """Prints lines and shows progress bars. Without a terminal only the lines appear."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )

    def stage(self, text: str) -> None:
        """Print what the command does next."""
        self.console.print(f"[dim]·[/dim] {text}")

    def line(self, text: str) -> None:
        """Print a result; `text` may have rich markup."""
        self.console.print(text)

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator["Counter"]:
        """Show a bar for `total` units of work while the block runs. Nested bars are shown below each other."""
        self._progress.start()
        bar = self._progress.add_task(what, total=total)
        try:
            yield Counter(self._progress, bar)
        finally:
            self._progress.remove_task(bar)
            if not self._progress.task_ids:
                self._progress.stop()


class Counter:
    """Moves one progress bar."""

    def __init__(self, progress: Progress, bar: int) -> None:
        self._progress, self._bar = progress, bar

    def advance(self) -> None:
        """One more unit of work is finished."""
        self._progress.advance(self._bar)  # pyright: ignore[reportArgumentType]
