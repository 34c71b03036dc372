"""The batch of an update whose gradient was not finite, in one file, so that the update can be studied."""

import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from trainer.config.build import ConfigError
from trainer.data.tokens import Targets, TokenBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class BadBatch:
    """What `Learner.learn` was given in such an update."""

    update: int
    """Its number."""
    seed: int
    """Of its minibatches."""
    checkpoint: str | None
    """Name of the run's last checkpoint before the update; None: the run had none yet."""
    tokens: TokenBatch
    """Its rows."""
    targets: Targets
    """What they were trained towards."""

    def write(self, output: Path) -> Path:
        """Write it into the folder of its run, as NumPy arrays by name. Returns the file."""
        path = output / f"bad-batch-{self.update:06d}.npz"
        partial = path.with_suffix(".partial")
        columns = _columns("tokens", self.tokens) | _columns("targets", self.targets)
        with partial.open("wb") as file:
            np.savez_compressed(file, update=self.update, seed=self.seed, checkpoint=self.checkpoint or "", **columns)
        partial.rename(path)
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """The batch that `write` wrote. Raises ConfigError for a file that is missing, damaged or no batch."""
        if not path.is_file():
            raise ConfigError(f"{path} is no file: give the bad-batch-NUMBER.npz that the run named when it ended")
        try:
            with zipfile.ZipFile(path) as file, np.load(path, allow_pickle=False) as columns:
                if (part := file.testzip()) is not None:
                    raise ValueError(f"{part} has other bytes than were written")
                batch = cls(
                    update=int(columns["update"]),
                    seed=int(columns["seed"]),
                    checkpoint=str(columns["checkpoint"]) or None,
                    tokens=TokenBatch(**_group(columns, "tokens")),
                    targets=Targets(**_group(columns, "targets")),
                )
            batch.targets.check_fits(batch.tokens)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} is damaged, or no batch of a run ({error}): give another") from error
        return batch


def _columns(group: str, record: TokenBatch | Targets) -> dict[str, Any]:
    """The columns of a record that it has, by "group.name"."""
    columns = {f"{group}.{field.name}": getattr(record, field.name) for field in fields(record)}
    return {name: column for name, column in columns.items() if column is not None}


def _group(columns: Any, group: str) -> dict[str, Any]:
    return {name.removeprefix(f"{group}."): columns[name] for name in columns if name.startswith(f"{group}.")}
