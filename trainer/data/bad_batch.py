"""The batch of an update whose gradient was not finite, in one file, so that the update can be studied."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from trainer.data.tokens import Targets, TokenBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class BadBatch:
    """What `Learner.learn` was given in such an update."""

    update: int
    """Its number."""
    seed: int
    """Of its minibatches."""
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
            np.savez_compressed(file, update=self.update, seed=self.seed, **columns)
        partial.rename(path)
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """The batch that `write` wrote."""
        with np.load(path, allow_pickle=False) as columns:
            return cls(
                update=int(columns["update"]),
                seed=int(columns["seed"]),
                tokens=TokenBatch(**_group(columns, "tokens")),
                targets=Targets(**_group(columns, "targets")),
            )


def _columns(group: str, record: TokenBatch | Targets) -> dict[str, Any]:
    """The columns of a record that it has, by "group.name"."""
    named = {f"{group}.{field.name}": getattr(record, field.name) for field in fields(record)}
    return {name: column for name, column in named.items() if column is not None}


def _group(columns: Any, group: str) -> dict[str, Any]:
    return {name.removeprefix(f"{group}."): columns[name] for name in columns if name.startswith(f"{group}.")}
