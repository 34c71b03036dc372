"""The rollouts that a run kept, as the columns that estimators read. This imports no torch."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from estimators import Estimator, Needs, StepBatch, needs
from rollout.record import read_groups
from rollout.types import RolloutGroup
from trainer.config.build import ConfigError
from trainer.data.columns import step_batch
from trainer.data.recording import Recording
from trainer.data.rows import RowTable


def read_rows(recording: Recording, estimators: Mapping[str, Estimator]) -> RowTable:
    """The rows of an update. Raises ConfigError for a file that is not whole, and for revisions that are missing."""
    try:
        rows = RowTable(list(read_groups(recording.groups)))
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{recording.groups}: {error}") from error
    _check_revisions(recording, rows.groups, estimators)
    return rows


def _check_revisions(recording: Recording, groups: Sequence[RolloutGroup], estimators: Mapping[str, Estimator]) -> None:
    demanding = [label for label, estimator in estimators.items() if needs(estimator).revisions]
    without = sum(group.revisions is None for group in groups)
    if demanding and without:
        raise ConfigError(
            f"{recording.groups}: {without} of {len(groups)} groups were recorded without revisions, which estimator "
            f"{demanding[0]!r} needs: train with estimator=ibpo record=rollouts, or leave it out of estimators"
        )


def batch_of(
    recording: Recording,
    rows: RowTable,
    embedding: NDArray[np.float32] | None,
    wants: Needs,
    values: NDArray[np.float32] | None = None,
) -> StepBatch:
    """The columns of an update for an estimator with such needs. values: what the critic said of what it wants.

    Raises ConfigError where hidden states and rows do not fit each other.
    """
    try:
        return step_batch(rows, wants, embedding=embedding, values=values)
    except ValueError as error:
        raise ConfigError(f"{recording.groups}: {error}") from error
