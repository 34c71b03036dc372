"""What a place where cells run does for whoever launches them: this machine, a Ray cluster, SLURM."""

from collections.abc import Sequence
from typing import Protocol

from trainer.cells.cell import Cell, Outcome, State

LOOK_S = 0.1  # between two looks at cells whose ends cost nothing to look for


class Running(Protocol):
    """A cell that was started."""

    cell: Cell

    def outcome(self) -> Outcome | None:
        """How it ended; None while it runs."""
        ...

    def end(self, state: State, line: str = "") -> None:
        """Ask it to end in order. It then counts as `state`, with `line` to say why, unless it finishes first."""
        ...


class Site(Protocol):
    """A place where cells run."""

    @property
    def parallel(self) -> int | None:
        """Cells at once; None for all."""
        ...

    @property
    def look_s(self) -> float:
        """Seconds between two looks at the running cells."""
        ...

    def check(self, cell: Cell) -> None:
        """Raises ConfigError for a cell for which there is no room even alone."""
        ...

    def start(self, cell: Cell) -> Running | None:
        """Start it; None where it must wait until another ends."""
        ...

    def end_all(self, running: Sequence[Running]) -> str | None:
        """Ask all of them to end in order, and to count as waiting. Returns what to say of those that may live on."""
        ...

    def close(self) -> None:
        """Leave the place."""
        ...


def end_each(running: Sequence[Running]) -> None:
    """Ask each by itself to end and to count as waiting."""
    for one in running:
        one.end(State.WAITING)
