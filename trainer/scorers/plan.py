"""Plan matching: a step earns how well its action fits a plan of the world's expert (MatchTIR, 2601.10712)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Interval
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from envs.base import Env, EnvError
from estimators.options import check_options
from rollout.types import Trajectory
from trainer.scorers.base import Rollouts, StepRewards

Floats = NDArray[np.float64]
LONGEST_PLAN = 1000
SWEEPS = 200
"""Rounds of Sinkhorn's scaling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the expert does in an episode."""

    actions: tuple[str, ...]
    """One or more, in order."""
    won: bool
    """Whether they solve the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMatch:
    """Matching with the expert's plan (2601.10712):

        r_t = weight * S(t, j)               matching="hungarian", step t matched with step j of the plan
        r_t = -unmatched                     matching="hungarian", step t without a match
        r_t = weight * T * sum_j P_tj S(t, j)    matching="sinkhorn"

        S  similarity of two actions, in [0, 1]
        P  the transport of mass 1/T at each step to 1/J at each step of the plan that minimises
           sum P (1 - S) - entropy * H(P)
        T, J  steps of the rollout, steps of the plan

    The plan is what the expert does from the start of the episode. A match with S = 0 is none.
    Assumes that the expert's way is the good one. A rollout on another good way matches little of it.
    Reading: actions are texts, so S compares words (`similarity`) where the paper compares a tool's name and
        parameters.
    We differ: the order of the steps does not count, as in the paper, but an invalid response never matches.
    Diagnostics: `matched_share`, the share of steps with a match (a share of 0.5 with "sinkhorn"); `plan_steps`, the
        mean length of a plan; `plan_success`, the share of plans that solve their task.
    Raises ValueError for an option out of range, and EnvError where the world has no expert.
    """

    matching: Literal["hungarian", "sinkhorn"] = "hungarian"
    """One step with one (Kuhn-Munkres), or each step with a share of each (entropic transport)."""
    similarity: Literal["words", "equal"] = "words"
    """How alike two actions are: words in common as a share of all their words (Jaccard, 0 if the first words differ),
    or 1 for equal actions and else 0."""
    unmatched: Annotated[float, Ge(0)] = 0.0
    """What a step without a match costs. The paper also has 0.5 of a match's worth."""
    entropy: Annotated[float, Interval(gt=0, le=10)] = 0.05
    """How widely "sinkhorn" spreads a step over the plan."""
    weight: Annotated[float, Gt(0)] = 1.0
    """What a perfect match is worth, in units of reward."""

    def __post_init__(self) -> None:
        check_options(self)

    def check(self, env: Env, task_id: str) -> None:
        try:
            plan_of(env, task_id, 0)
        except EnvError as error:
            raise ValueError(f"needs a plan of the world's expert: {error}; choose another scorer") from error

    def __call__(self, rollouts: Rollouts, /) -> StepRewards:
        played = dict.fromkeys((group.task_id, group.seed) for group in rollouts.groups)
        plan_for = {key: plan_of(rollouts.env, *key) for key in played}
        plans = [plan_for[group.task_id, group.seed] for group in rollouts.groups]
        scored = [
            self.matched(self._alike(rollout, plan_for[group.task_id, group.seed].actions))
            for group, rollout in rollouts.played
        ]
        return StepRewards(
            value=np.concatenate([reward for reward, _ in scored]),
            diagnostics={
                "matched_share": float(np.concatenate([match for _, match in scored]).mean()),
                "plan_steps": float(np.mean([len(plan.actions) for plan in plans])),
                "plan_success": float(np.mean([plan.won for plan in plans])),
            },
        )

    def matched(self, alike: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """The rewards of the T steps of a rollout, and which have a match. alike: float64 [T, J], S."""
        if self.matching == "sinkhorn":
            share = len(alike) * (sinkhorn(1.0 - alike, self.entropy) * alike).sum(1)
            return self.weight * share, share >= 0.5
        steps, places = linear_sum_assignment(alike, maximize=True)
        score = np.zeros(len(alike))
        score[steps] = alike[steps, places]
        return np.where(score > 0, self.weight * score, -self.unmatched), score > 0

    def _alike(self, rollout: Trajectory, plan: Sequence[str]) -> Floats:
        return np.array(
            [
                [alike(step.action, action, words=self.similarity == "words") if step.valid else 0.0 for action in plan]
                for step in rollout.steps
            ]
        )


def plan_of(env: Env, task_id: str, seed: int) -> Plan:
    """What the expert does from the start of an episode to its end. Raises EnvError where there is no expert."""
    after, plan = env.reset(task_id, seed=seed), list[str]()
    for action in env.expert():
        after = env.step(action)
        plan.append(action)
        if after.ending is not None or len(plan) == LONGEST_PLAN:
            break
    if not plan:
        raise EnvError(f"the expert of {task_id!r} (seed {seed}) takes no step")
    return Plan(actions=tuple(plan), won=after.won)


def alike(action: str, other: str, *, words: bool) -> float:
    """How alike two actions are, in [0, 1].

    >>> alike("go to shelf 1", "go to shelf 2", words=True), alike("go to shelf 1", "take cup 1", words=True)
    (0.6, 0.0)
    """
    if not words or action == other:
        return float(action == other)
    mine, others = action.lower().split(), other.lower().split()
    if not mine or not others or mine[0] != others[0]:
        return 0.0
    both, either = Counter(mine) & Counter(others), Counter(mine) | Counter(others)
    return both.total() / either.total()


def sinkhorn(cost: Floats, entropy: float) -> Floats:
    """The transport [T, J] from 1/T at each row to 1/J at each column of least cost less `entropy` times its entropy.

    Sinkhorn's scaling (1306.0895), in logarithms. Rows are scaled last, so their sums are exact.
    """
    scaled = -cost / entropy
    row, col = np.zeros((len(cost), 1)), np.zeros((1, cost.shape[1]))
    for _ in range(SWEEPS):
        col = -np.log(cost.shape[1]) - np.logaddexp.reduce(scaled + row, axis=0, keepdims=True)
        row = -np.log(len(cost)) - np.logaddexp.reduce(scaled + col, axis=1, keepdims=True)
    return np.exp(scaled + row + col)
