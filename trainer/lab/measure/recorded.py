"""Estimators held against each other on the rollouts that a run kept, update by update."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from estimators import Advantages, Estimator, StepBatch, calibrated, needs
from rollout.record import read_groups
from rollout.types import RolloutGroup
from trainer.config.build import ConfigError
from trainer.data.columns import step_batch, token_batch
from trainer.data.rows import RowTable
from trainer.lab.measure.credit import Agreement, Shape, States, agreements, shape, states
from trainer.lab.measure.hidden import hidden_states
from trainer.lab.plan import LabPlan, Recording

CALLS = 3  # the fastest of so many is the time of one


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """One estimator on one update. ms: of a call. diagnostics: its own, sizes and branch shares among them."""

    shape: Shape
    ms: float
    diagnostics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCredit:
    """Every estimator on one update's rollouts. success: share of the rollouts that solved their task."""

    update: int
    groups: int
    rollouts: int
    rows: int
    success: float
    states: States
    credit: dict[str, Credit]
    pairs: dict[tuple[str, str], Agreement]


def recorded_credit(plan: LabPlan, layer: int | None) -> Iterator[UpdateCredit]:
    """One update at a time, in the plan's order; what calibrates itself does so on the first.

    Raises ConfigError for a recording that is not whole.
    """
    estimators = dict(plan.recorded)
    for recording in plan.recordings:
        groups, embedding = _loaded(recording, plan, layer)
        plain = _batch(recording, groups, embedding, "action", 1.0)
        batches = {("action", 1.0): plain}
        credit: dict[str, Credit] = {}
        values: dict[str, NDArray[np.float64]] = {}
        for label, estimator in estimators.items():
            wants = needs(estimator)
            seen = (wants.action_key, wants.similarity)
            if seen not in batches:
                batches[seen] = _batch(recording, groups, embedding, *seen)
            batch = batches[seen]
            try:
                estimators[label] = calibrated(estimator, batch)
                ms, found = _timed(estimators[label], batch)
            except ValueError as error:
                raise ConfigError(f"{recording.groups}: estimator {label!r}: {error}") from error
            values[label] = found.value
            credit[label] = Credit(
                shape=shape(found.value, batch), ms=ms, diagnostics={k: float(v) for k, v in found.diagnostics.items()}
            )
        played = [trajectory for group in groups for trajectory in group.trajectories]
        yield UpdateCredit(
            update=recording.update,
            groups=len(groups),
            rollouts=len(played),
            rows=len(plain),
            success=sum(one.success for one in played) / len(played),
            states=states(plain),
            credit=credit,
            pairs=agreements(values),
        )


def _loaded(
    recording: Recording, plan: LabPlan, layer: int | None
) -> tuple[list[RolloutGroup], NDArray[np.float32] | None]:
    """The groups, and the rows' hidden states where an estimator needs them: recorded, or read anew from `layer`."""
    try:
        groups = list(read_groups(recording.groups))
        _check_revisions(recording, groups, plan)
        if not any("embedding" in needs(estimator).columns for estimator in plan.recorded.values()):
            return groups, None
        if plan.model is not None and layer is not None:
            return groups, hidden_states(plan.model, token_batch(RowTable(groups)), layer)
        return groups, _vectors(recording.embeddings)
    except ConfigError:
        raise
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{recording.groups}: {error}") from error


def _check_revisions(recording: Recording, groups: list[RolloutGroup], plan: LabPlan) -> None:
    wanting = [label for label, estimator in plan.recorded.items() if needs(estimator).revisions]
    without = sum(group.revisions is None for group in groups)
    if wanting and without:
        raise ConfigError(
            f"{recording.groups}: {without} of {len(groups)} groups were recorded without revisions, which estimator "
            f"{wanting[0]!r} needs: train with estimator=ibpo record=rollouts, or leave it out of estimators"
        )


def _vectors(path: Path | None) -> NDArray[np.float32] | None:
    return None if path is None else np.load(path).astype(np.float32)


def _batch(
    recording: Recording, groups: list[RolloutGroup], embedding: NDArray[np.float32] | None, key: str, alike: float
) -> StepBatch:
    try:
        return step_batch(RowTable(groups), embedding=embedding, action_key=key, similarity=alike)
    except ValueError as error:
        raise ConfigError(f"{recording.groups}: {error}") from error


def _timed(estimator: Estimator, batch: StepBatch) -> tuple[float, Advantages]:
    """(milliseconds of the fastest call, the credit)."""
    calls = []
    for _ in range(CALLS):
        begun = perf_counter()
        found = estimator(batch)
        calls.append((1e3 * (perf_counter() - begun), found))
    return min(calls, key=itemgetter(0))
