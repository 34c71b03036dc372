"""The nouns of a rollout: what a policy said, one agent step, one finished rollout, one revision, a task's rollouts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Interval, doc

from envs.base import Ending

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are sampled."""

    temperature: Annotated[float, Interval(ge=0, lt=math.inf), doc("0 (greedy) or more")]
    """Divides the logits before the softmax; 0 takes the likeliest token."""

    max_tokens: Annotated[int, Ge(1)]
    """Longest response in tokens; in a config, null takes model.response_tokens."""

    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Sample from the smallest set of tokens with at least this probability together; 1 keeps all tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a policy said to one prompt.

    prompt_ids int32 [P], token_ids int32 [R]: exactly what went through the engine; never re-tokenised. The last
    token is the end-of-turn token unless finish_reason is "length".
    logprobs float32 [R]: the engine's own, of the distribution that was sampled from (after temperature).
    text: the response decoded, without special tokens. policy_version: the publish that produced the tokens.
    An endpoint that returns no ids gives empty arrays: such a completion can be evaluated, not trained on.
    """

    prompt_ids: Ids
    token_ids: Ids
    logprobs: Floats
    text: str
    finish_reason: str
    policy_version: int

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.logprobs):
            raise ValueError(f"{len(self.token_ids)} tokens but {len(self.logprobs)} log-probs: every token has one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One agent turn: what was seen, said and done, and the training reward that the turn earned.

    state_key: the anchor the action was taken at; steps of one task with equal keys count as one state.
    valid: format and grammar both held.
    """

    observation: str
    completion: Completion
    action: str
    valid: bool
    reward: float
    state_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One finished rollout of one task. sibling: its number within the group; seed: the world's."""

    task_id: str
    sibling: int
    seed: int
    steps: tuple[Step, ...]
    ending: Ending
    success: bool
    score: float

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError(f"trajectory of {self.task_id!r} has no step: a finished rollout has at least one")

    @property
    def tokens(self) -> int:
        """Response tokens of all steps."""
        return sum(len(step.completion.token_ids) for step in self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A failed rollout played anew by a policy that was shown it beside an attempt of a sibling (IBPO 2605.16302).

    trajectory: the new one; its `sibling` is the failed rollout's. reference: the sibling whose attempt was shown.
    credit: what it adds to the failed rollout's s; 0 where it failed too.
    """

    trajectory: Trajectory
    reference: int
    credit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutGroup:
    """All rollouts of one task instance (same task id, same seed), ordered by sibling.

    revisions: of the failed ones, those that were played to their end; None where no revision phase ran.
    """

    task_id: str
    seed: int
    trajectories: tuple[Trajectory, ...]
    revisions: tuple[Revision, ...] | None = None

    def __post_init__(self) -> None:
        for number, trajectory in enumerate(self.trajectories):
            if (trajectory.task_id, trajectory.seed, trajectory.sibling) != (self.task_id, self.seed, number):
                raise ValueError(
                    f"group ({self.task_id!r}, seed {self.seed}) got trajectory {number} of "
                    f"({trajectory.task_id!r}, seed {trajectory.seed}, sibling {trajectory.sibling})"
                )
        failed = {trajectory.sibling for trajectory in self.trajectories if not trajectory.success}
        for revision in self.revisions or ():
            played = revision.trajectory
            if (played.task_id, played.seed) != (self.task_id, self.seed) or played.sibling not in failed:
                raise ValueError(
                    f"group ({self.task_id!r}, seed {self.seed}) got a revision of ({played.task_id!r}, seed "
                    f"{played.seed}, sibling {played.sibling}): revise its own failed rollouts, {sorted(failed)}"
                )


def success_rate(groups: Sequence[RolloutGroup]) -> float:
    """Share of rollouts that solved their task, in [0, 1]. Raises ValueError when there are none."""
    wins = [trajectory.success for group in groups for trajectory in group.trajectories]
    if not wins:
        raise ValueError("no rollouts: a success rate needs at least one")
    return sum(wins) / len(wins)
