"""95 % intervals of a mean over seeds and tasks, by a bootstrap of both.

Outcomes are crossed: every seed plays every task of the panel. A replicate draws seeds with replacement and, apart from
that, tasks with replacement, and adds both effects to the mean: the residual bootstrap of a model with random effects
(Carpenter, Goldstein and Rasbash 2003). Three corrections, without which intervals of few seeds are wrong:

- Effects of seeds are widened by sqrt(S / (S - 1)) and by Student's quantile over the normal one: with S seeds their
  spread is little known (Hesterberg 2015, 1411.5279, sections 3 and 6).
- Effects of tasks are shrunk to the part that chance does not explain: each is a mean over S seeds, whose chance the
  effects of seeds count already. Drawing both from the outcomes themselves would count chance three times (Owen 2007).
- Seeds whose means lie closer together than chance puts them do so by luck: they are spread as chance would have it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from trainer.report.paired import spread
from trainer.report.rate import wilson

DRAWS = 10_000
LEVEL = 0.95
SEED = 20_250_510  # of the draws: equal numbers give equal intervals
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
ROUNDING = 1e-9  # draws that lie closer together than this tell nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over seeds with what is known of it. All in the unit of the values."""

    mean: float
    """Mean over the seeds."""
    std: float | None
    """Sample standard deviation over the seeds; None with one."""
    low: float | None
    """Lower end of the 95 % interval; None where nothing is known of it."""
    high: float | None
    """Upper end."""
    values: tuple[float, ...]
    """The seeds' own values, in the order of the seeds."""


def estimate(values: Sequence[float], outcomes: np.ndarray | None, *, tasks: int = 0, draws: int = DRAWS) -> Estimate:
    """The mean of shares in [0, 1]. values: one for each seed. outcomes: [seed, task], whose row means they are.

    Without outcomes the effects of tasks are drawn as if all chance of a share of `tasks` tasks were the tasks' own,
    about a share with two wins and two losses more, as Agresti and Coull (1998) have it. So they are where all outcomes
    are equal, which would claim that nothing is left to chance. tasks=0 leaves them out. One seed's share of 0 and 1
    has Wilson's interval.
    """
    tasks = tasks if outcomes is None else outcomes.shape[1]
    share = float(np.mean(values))
    if tasks and len(values) == 1 and (outcomes is None or set(outcomes.flat) <= {0, 1}):
        low, high = wilson(share, tasks)
        return Estimate(mean=share, std=None, low=low, high=high, values=(share,))
    if tasks and (outcomes is None or np.ptp(outcomes) == 0):
        drawn = _rng(1).binomial(tasks + 4, (share * tasks + 2) / (tasks + 4), draws) / (tasks + 4) - share
    else:
        drawn = _resampled(_task_effects(outcomes), 1, draws)
    return _estimate(values, drawn, _chance(outcomes), draws, bounds=(0.0, 1.0))


def paired(differences: Sequence[float] | np.ndarray, outcomes: np.ndarray | None) -> Estimate:
    """The mean of differences in [-1, 1], one for each seed. outcomes: [seed, task]; None: of seeds alone.

    The effects of tasks are those of `spread` with one seed, and where all tasks differ equally, so that no draw shows
    any spread.
    """
    if outcomes is not None and (len(outcomes) == 1 or np.ptp(outcomes) <= ROUNDING):
        shared = float(outcomes.mean())
        centre, deviation = spread(outcomes.mean(0))
        drawn = _rng(1).normal(centre - shared, deviation, DRAWS)
    else:
        drawn = _resampled(_task_effects(outcomes), 1, DRAWS)
    return _estimate(differences, drawn, _chance(outcomes), DRAWS, bounds=(-1.0, 1.0))


def _estimate(
    values: Sequence[float] | np.ndarray,
    of_tasks: np.ndarray | None,
    chance: float,
    draws: int,
    *,
    bounds: tuple[float, float],
) -> Estimate:
    """chance: variance of the mean that chance alone gives it."""
    of_seeds = _resampled(_seed_effects(values), 0, draws)
    if of_seeds is not None and np.var(of_seeds) < chance:
        of_seeds = _rng(0).normal(0, np.sqrt(chance), draws)
    mean, std = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
    low = high = None
    parts = [part for part in (of_seeds, of_tasks) if part is not None]
    if any(np.ptp(part) > ROUNDING for part in parts):
        low, high = (float(end) for end in np.clip(np.quantile(mean + sum(parts), TAILS), *bounds))
    return Estimate(mean=mean, std=std, low=low, high=high, values=tuple(map(float, values)))


def _seed_effects(values: Sequence[float] | np.ndarray) -> np.ndarray | None:
    """Deviations of the seeds, widened for their small number; None with one."""
    count = len(values)
    if count < 2:
        return None
    wide = np.sqrt(count / (count - 1)) * t.ppf(TAILS[1], count - 1) / norm.ppf(TAILS[1])
    return wide * (np.asarray(values) - np.mean(values))


def _task_effects(outcomes: np.ndarray | None) -> np.ndarray | None:
    """Deviations of the tasks, shrunk by the chance in them; of one seed, whose chance nothing else counts, as they
    are."""
    if outcomes is None or outcomes.shape[1] < 2:
        return None
    seeds, tasks = outcomes.shape
    effects = outcomes.mean(0) - outcomes.mean()
    variance = (effects**2).sum() / (tasks - 1)
    if seeds > 1 and variance > 0:
        effects = effects * np.sqrt(max(0.0, 1 - _chance(outcomes) * tasks / variance))
    return effects * np.sqrt(tasks / (tasks - 1))


def _chance(outcomes: np.ndarray | None) -> float:
    """The variance of the mean that neither the seeds' nor the tasks' effects explain; 0 where one seed or one task
    leaves nothing to tell it by."""
    if outcomes is None or min(outcomes.shape) < 2:
        return 0.0
    seeds, tasks = outcomes.shape
    rest = outcomes - outcomes.mean(0) - outcomes.mean(1, keepdims=True) + outcomes.mean()
    return float((rest**2).sum() / ((seeds - 1) * (tasks - 1)) / (seeds * tasks))


def _resampled(effects: np.ndarray | None, stream: int, draws: int) -> np.ndarray | None:
    """Means of the effects, drawn with replacement. stream: one for seeds and one for tasks."""
    if effects is None:
        return None
    index = _rng(stream).integers(len(effects), size=(draws, len(effects)), dtype=np.int32)
    return effects[index].mean(1)


def _rng(stream: int) -> np.random.Generator:
    return np.random.default_rng((SEED, stream))
