"""Learning curves: policies trained by an estimator's credit, and what a curve says in four numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.stats import binom

from estimators import Estimator, StepBatch, needs
from estimators.base import calibrated
from trainer.lab.learn.school import Rows, School
from trainer.lab.measure.jackknife import ConfidenceInterval, interval
from trainer.lab.worlds.tabular import Floats

SHARES = (0.5, 0.8, 0.95)
"""Shares of the way to the best score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """After how many updates policies reach a share of the way: median and 95 % interval; None is not in time."""

    median: int | None
    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One estimator in one world at one group size."""

    world: str
    """The world's name."""

    estimator: str
    """The estimator's label."""

    size: int
    """Rollouts in a group."""

    rate: float
    """The learning rate that was chosen, in units of one over the first credit's root mean square."""

    edge: bool
    """Whether the rate is the smallest or the largest that there was to choose from."""

    mean: tuple[float, ...]
    """Progress after each update, mean over policies: 0 where learning began, 1 at the best score."""

    half: tuple[float, ...]
    """Half of the 95 % interval of each."""

    area: ConfidenceInterval
    """Mean progress over all updates."""

    reached: tuple[Reached, ...]
    """By share of `SHARES`."""


def train(
    school: School,
    estimator: Estimator,
    *,
    policies: int,
    size: int,
    rollouts: int,
    updates: int,
    rate: float,
    rng: np.random.Generator,
) -> Floats:
    """Scores [updates + 1, R] of R policies, exact, before and after each update.

    logits += rate / rms * gradient / rollouts, with rms the root mean square of the first update's credit (1 where it
    is 0). One step for each update's rollouts, without clipping or a reference policy.
    """
    logits = school.start(policies)
    chances = school.chances(logits)
    values = school.values(chances)
    hidden = "embedding" in needs(estimator).columns
    scores, step, apart, groups = [school.scores(values)], 0.0, False, rollouts // size
    for update in range(updates):
        rows = school.play(chances, values, groups=groups, size=size, first=update * groups, rng=rng, hidden=hidden)
        if update == 0:
            estimator = calibrated(estimator, rows.batch)
            apart = _knows_the_batch(estimator, rows)
        credit = _one_by_one(estimator, rows) if apart else estimator(rows.batch).value
        if update == 0:
            rms = float(np.sqrt(np.mean(credit * credit)))
            step = rate / (rms if rms > 0.0 else 1.0)
        logits += step / rollouts * school.gradient(rows, credit, chances)
        chances = school.chances(logits)
        values = school.values(chances)
        scores.append(school.scores(values))
    return np.array(scores)


def curve_of(
    scores: Floats, *, best: float, world: str, estimator: str, size: int, rate: float, rates: Sequence[float]
) -> Curve:
    """The curve of scores [updates + 1, R] of R policies that began alike."""
    way = progress(scores, best)
    by_update = [interval(values) for values in way.tolist()]
    return Curve(
        world=world,
        estimator=estimator,
        size=size,
        rate=rate,
        edge=len(rates) > 1 and rate in (min(rates), max(rates)),
        mean=tuple(number.value for number in by_update),
        half=tuple(number.half for number in by_update),
        area=interval(way[1:].mean(0).tolist()),
        reached=tuple(reached(way, share) for share in SHARES),
    )


def progress(scores: Floats, best: float) -> Floats:
    """How far each score is on the way from the first to the best."""
    return (scores - scores[0]) / max(best - float(scores[0].mean()), 1e-12)


def reached(way: Floats, share: float) -> Reached:
    """The first update at which each policy [updates + 1, R] is at `share`; the interval is between two of them.

    The ranks of the ends follow from the binomial distribution of how many policies lie below the median.
    """
    at = np.where((way >= share).any(0), (way >= share).argmax(0), len(way))
    ordered = np.sort(at)
    policies = len(ordered)
    low = int(binom.ppf(0.025, policies, 0.5))

    def place(rank: int) -> int | None:
        update = int(ordered[min(max(rank, 0), policies - 1)])
        return update if update < len(way) else None

    return Reached(median=place((policies - 1) // 2), low=place(low - 1), high=place(policies - low))


def _knows_the_batch(estimator: Estimator, rows: Rows) -> bool:
    """Whether the credit of the first policy's rows changes with the rows of others, as a mean over the batch does."""
    mine = rows.owner == 0
    return not np.allclose(estimator(rows.batch).value[mine], estimator(_part(rows.batch, mine)).value, atol=1e-9)


def _one_by_one(estimator: Estimator, rows: Rows) -> Floats:
    """The credit [N], each policy's rows in a batch of their own."""
    credit = np.empty(len(rows.owner))
    for owner in range(int(rows.owner.max()) + 1):
        mine = rows.owner == owner
        credit[mine] = estimator(_part(rows.batch, mine)).value
    return credit


def _part(batch: StepBatch, rows: np.ndarray) -> StepBatch:
    columns: dict[str, Any] = {field.name: getattr(batch, field.name) for field in fields(StepBatch) if field.init}
    own: dict[str, Any] = {name: None if column is None else column[rows] for name, column in columns.items()}
    return StepBatch(**own)
