"""Scorers in generated worlds: the same formulas on states, actions and vectors instead of texts and hidden states."""

from dataclasses import replace

import numpy as np

from estimators import StepBatch
from estimators.algebra.returns import at_previous
from trainer.lab.worlds.tabular import Floats, Ints, Tabular, best_actions
from trainer.scorers.base import Scorer
from trainer.scorers.milestones import Milestones
from trainer.scorers.plan import PlanMatch
from trainer.scorers.progress import Progress, attributed

TABULAR = (Milestones, PlanMatch, Progress)
"""The scorers that need no texts."""
UPDATE = 16
"""Groups that a head is fitted on, as in an update."""


def rewarded(world: Tabular, batch: StepBatch, scorer: Scorer) -> StepBatch:
    """The batch with the step rewards of a scorer of `TABULAR`.

    A plan is the most valuable action from each task's start on, with the likeliest outcome of each. Two actions are
    alike where their keys are equal. A head reads the vectors that stand for hidden states.
    """
    match scorer:
        case Milestones():
            milestone = batch.needed("milestone", "milestones")
            value = scorer.weight * (milestone - at_previous(batch, milestone, 0))
        case PlanMatch():
            value = _matched(world, batch, scorer)
        case Progress():
            value = _attributed(batch, scorer)
        case _:
            raise TypeError(f"{scorer} reads texts, and generated worlds have none")
    return replace(batch, reward=batch.reward + value, step_reward=value)


def plan_of(world: Tabular, start: int) -> Ints:
    """The keys of the actions that are best from a start on, with the likeliest outcome of each."""
    best, keys, state = best_actions(world), list[int](), start
    for turn in range(world.horizon):
        action = best[turn, state]
        keys.append(int(world.keys[state, action]))
        state = int(world.successor[state, action, world.chance[state, action].argmax()])
        if state >= len(world.policy):
            break
    return np.array(keys)


def _matched(world: Tabular, batch: StepBatch, scorer: PlanMatch) -> Floats:
    plans = [plan_of(world, int(start)) for start in world.starts]
    value = np.zeros(len(batch))
    sets = batch.rollouts
    for start, size in zip(sets.start, sets.size, strict=True):
        rows = sets.order[start : start + size]
        plan = plans[int(batch.group[rows[0]]) % len(plans)]
        value[rows] = scorer.matched((batch.action[rows][:, None] == plan).astype(np.float64))[0]
    return value


def _attributed(batch: StepBatch, scorer: Progress) -> Floats:
    features, order = batch.needed("embedding", "progress"), batch.rollouts.order
    value = np.zeros(len(batch))
    update = batch.group[order] // UPDATE
    for number in np.unique(update):
        rows = order[update == number]
        rollout = np.unique(batch.trajectory[rows], return_inverse=True)[1]
        share, _ = attributed(features[rows], rollout, batch.reward[rows], ridge=scorer.ridge, folds=scorer.folds)
        value[rows] = scorer.weight * (share - batch.reward[rows])
    return value + scorer.grounding  # every action of these worlds is valid
