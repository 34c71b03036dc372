"""Hydra makes launchers and sweepers of this package alone; ours are written where our other commands are."""

from trainer.commands.search import OptunaSweeper
from trainer.commands.sweep import CellLauncher

__all__ = ["CellLauncher", "OptunaSweeper"]
