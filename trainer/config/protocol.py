"""A published protocol as data: what a run's settings are compared with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolConfig:
    """A published protocol. It changes no setting: a run says where its own settings are others."""

    source: str
    """The papers, by arXiv id."""

    settings: Mapping[str, Any]
    """Settings as published, in the groups of a run. A list holds the values of which any one was published."""

    runs: Annotated[int, Ge(1)] = 3
    """Runs with different seeds behind a published number."""

    train_tasks: Annotated[int | None, Ge(1)] = None
    """Tasks of the training split; null: not published."""

    validation_tasks: Annotated[int | None, Ge(1)] = None
    """Tasks of the whole validation split; null: not published."""

    always: tuple[str, ...] = ()
    """How every run here differs, whatever its settings are."""
