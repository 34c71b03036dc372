"""Where a run kept the rollouts of one update."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One update's rollouts on disk."""

    update: int
    """The update's number, from 1."""

    groups: Path
    """The compressed rollouts."""

    embeddings: Path | None
    """The hidden states of their rows; None where the run did not keep them."""
