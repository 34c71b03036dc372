"""Estimators compared on the rollouts that a run kept, update by update."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from operator import itemgetter
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from estimators import Advantages, Estimator, Needs, StepBatch, calibrated, needs
from trainer.config.build import ConfigError
from trainer.data.columns import token_batch
from trainer.data.recording import Recording
from trainer.data.rows import RowTable, trajectories
from trainer.lab.measure.credit import (
    Agreement,
    CreditStatistics,
    StateStatistics,
    agreements,
    credit_statistics,
    state_statistics,
)
from trainer.lab.measure.estimated import AgainstEstimate, against_estimate, read_truth
from trainer.lab.measure.reading import batch_of, read_rows
from trainer.setup.credit import advantages_of

CALLS = 3
"""Calls of an estimator on a batch; the fastest is the time of one."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """One estimator on one update."""

    statistics: CreditStatistics
    """Of its credit over the update's rows."""

    ms: float
    """Milliseconds of a call."""

    diagnostics: dict[str, float]
    """The estimator's own numbers, such as cluster sizes and shares of its branches."""

    truth: AgainstEstimate | None = None
    """Against the rows' true advantages; None where `stepcredit truth` has not estimated them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCredit:
    """Every estimator on one update's rollouts."""

    update: int
    """The update's number, from 1."""

    groups: int
    """Groups recorded."""

    rollouts: int
    """Rollouts in them."""

    rows: int
    """Steps of all rollouts."""

    success: float
    """Share of the rollouts that solved their task."""

    states: StateStatistics
    """How often the groups came back to a state."""

    credit: dict[str, Credit]
    """By the estimator's label."""

    pairs: dict[tuple[str, str], Agreement]
    """By two labels, in the order of `credit`."""

    certain: float | None = None
    """Share of the rows whose true advantage is certain to differ from 0 (95 %); None where it was not estimated."""


def recorded_credit(
    recordings: Sequence[Recording], estimators: Mapping[str, Estimator], *, model: Path | None, layer: int | None
) -> Iterator[UpdateCredit]:
    """One update at a time, in the order of `recordings`; an estimator that calibrates itself does so on the first.

    With a model folder and a layer, hidden states are read again from there instead of from the recording.
    Raises ConfigError for a recording that is not whole.
    """
    estimators = dict(estimators)
    for recording in recordings:
        rows = read_rows(recording, estimators)
        truth = read_truth(recording.truth, len(rows))
        embedding = _embedding(recording, rows, estimators, model, layer)
        plain = batch_of(recording, rows, embedding, Needs())
        batches = {("action", 1.0): plain}
        credit: dict[str, Credit] = {}
        values: dict[str, NDArray[np.float64]] = {}
        for label, estimator in estimators.items():
            wishes = needs(estimator)
            view = (wishes.action_key, wishes.similarity)
            if view not in batches:
                batches[view] = batch_of(recording, rows, embedding, wishes)
            batch = batches[view]
            try:
                estimators[label] = calibrated(estimator, batch)
                ms, advantages = _timed(estimators[label], batch)
            except ValueError as error:
                raise ConfigError(f"{recording.groups}: estimator {label!r}: {error}") from error
            first = next(iter(values.values()), None)
            values[label] = advantages.value
            credit[label] = Credit(
                statistics=credit_statistics(advantages.value, batch),
                ms=ms,
                diagnostics={name: float(value) for name, value in advantages.diagnostics.items()},
                truth=None if truth is None else against_estimate(advantages.value, truth, batch.groups, first),
            )
        rollouts = trajectories(rows.groups)
        yield UpdateCredit(
            update=recording.update,
            groups=len(rows.groups),
            rollouts=len(rollouts),
            rows=len(plain),
            success=sum(rollout.success for rollout in rollouts) / len(rollouts),
            states=state_statistics(plain),
            certain=None if truth is None else float(truth.certain.mean()),
            credit=credit,
            pairs=agreements(values),
        )


def _embedding(
    recording: Recording,
    rows: RowTable,
    estimators: Mapping[str, Estimator],
    model: Path | None,
    layer: int | None,
) -> Vectors | None:
    """The rows' hidden states [N, D], recorded or read again; None where no estimator needs them or none were kept."""
    if not any("embedding" in needs(estimator).columns for estimator in estimators.values()):
        return None
    if model is None or layer is None:
        return None if recording.embeddings is None else _recorded(recording.embeddings)
    try:
        hidden = import_module("trainer.lab.measure.hidden")  # imports torch
        return hidden.hidden_states(model, token_batch(rows), layer)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{recording.groups}: {error}") from error


def _recorded(path: Path) -> Vectors:
    """The hidden states that a run kept. Raises ConfigError where a kill cut the file short."""
    try:
        return np.load(path).astype(np.float32)
    except (ValueError, EOFError) as error:
        raise ConfigError(f"{path} is no whole array ({error}): read hidden states anew with layer=-2") from error


def _timed(estimator: Estimator, batch: StepBatch) -> tuple[float, Advantages]:
    """(milliseconds of the fastest call, the credit)."""
    calls: list[tuple[float, Advantages]] = []
    for _ in range(CALLS):
        start = perf_counter()
        advantages = advantages_of(estimator, batch)
        calls.append((1e3 * (perf_counter() - start), advantages))
    return min(calls, key=itemgetter(0))
