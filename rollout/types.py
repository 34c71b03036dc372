"""The records of a rollout: task, completion, step, trajectory, revision, group."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Interval, Predicate, doc

from envs.base import Ending

Ids = npt.NDArray[np.int32]
"""Token ids."""
Floats = npt.NDArray[np.float32]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
Truncated = Literal["keep", "invalid", "mask"]
"""What happens to a response that was cut at its longest length, see `RolloutConfig.truncated`."""
LOWEST_TEMPERATURE = 0.01
"""vLLM samples at this temperature where a lower one is asked for, but for 0."""


def _is_sampled_as_asked(temperature: float) -> bool:
    return temperature == 0 or LOWEST_TEMPERATURE <= temperature < math.inf


Temperature = Annotated[float, Predicate(_is_sampled_as_asked), doc(f"0 (greedy), or {LOWEST_TEMPERATURE} or more")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are sampled."""

    temperature: Temperature
    """Divides the logits before the softmax; 0 takes the likeliest token."""

    max_tokens: Annotated[int, Ge(1)]
    """Longest response in tokens; in a config, null takes model.response_tokens."""

    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Sample from the smallest set of tokens with at least this probability together; 1 keeps all tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task instance to roll out."""

    number: int
    """Orders the tasks of one collection, each of which has its own."""
    task_id: str
    """The world's name of the task."""
    seed: int
    """Of the world's episode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The policy's answer to one prompt.

    An endpoint returns no token ids: its completions have empty arrays, and cannot be trained on.
    """

    prompt_ids: Ids
    """int32 [P]. The prompt exactly as it went through the engine; never re-tokenised."""
    token_ids: Ids
    """int32 [R]. The sampled tokens; the last is one that ends the turn unless `finish_reason` is "length"."""
    logprobs: Floats
    """float32 [R], nats. The engine's own, under the distribution that was sampled from (after temperature)."""
    text: str
    """The response decoded, without special tokens; it begins with the thought that the prompt opened, if any."""
    finish_reason: str
    """As the engine names it: "stop" or "length"."""
    policy_version: int
    """The publish whose weights sampled the tokens; 0 for an endpoint."""

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.logprobs):
            raise ValueError(f"{len(self.token_ids)} tokens but {len(self.logprobs)} log-probs: every token has one")

    @property
    def truncated(self) -> bool:
        """Whether the response was cut at its longest length."""
        return self.finish_reason == "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One agent turn."""

    observation: str
    """What the agent saw last before it acted."""
    completion: Completion
    """What the policy answered."""
    action: str
    """What the world was given."""
    valid: bool
    """The answer had the form that was asked for, and the action follows the world's grammar."""
    reward: float
    """The training reward that this turn earned."""
    state_key: str
    """The world's state that the action was taken in. Steps of one task with equal keys, and as many idle turns, count
    as one state (anchor)."""
    milestone: int | None = None
    """Sub-goals that the rollout has reached after this turn; None if the world counts none, or did not when the step
    was recorded."""
    step_reward: float | None = None
    """What a scorer added to the reward of this turn; None without a scorer."""
    idle_turns: int = 0
    """Turns in a row before this one that left the world's state as it was; 0 where no number of them ends rollouts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One finished rollout of one task."""

    task_id: str
    """The world's name of the task."""
    sibling: int
    """Its number within the group, from 0."""
    seed: int
    """Of the world's episode."""
    steps: tuple[Step, ...]
    """In order of time; at least one."""
    ending: Ending
    """Why the rollout is over."""
    success: bool
    """The task was solved."""
    score: float
    """The world's progress measure at the end, in [0, 1]."""

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError(f"trajectory of {self.task_id!r} has no step: a finished rollout has at least one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A failed rollout played again by a policy that was shown it beside a sibling's attempt (IBPO 2605.16302)."""

    trajectory: Trajectory
    """The new rollout. Its `sibling` is the failed rollout's."""
    reference: int
    """The sibling whose attempt was shown."""
    credit: float
    """What it adds to the failed rollout's s; 0 if it failed too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A failed rollout that was taken up again at its pivot (R3L 2601.03715, InT 2601.14209)."""

    trajectory: Trajectory
    """The failure's own steps before the pivot, then new ones. Its `sibling` is the failed rollout's."""
    reference: int
    """The sibling whose attempt was shown at the pivot."""
    pivot: int
    """The step that was taken otherwise, from 0. It was sampled while both attempts were shown, but its prompt is the
    failure's own: the policy learns to take it unaided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutGroup:
    """All rollouts of one task instance: same task id, same seed."""

    task_id: str
    """The world's name of the task."""
    seed: int
    """Of the world's episodes."""
    trajectories: tuple[Trajectory, ...]
    """By sibling. Trajectory number i is sibling i, but for an evaluation's lost samples, which are left out."""
    revisions: tuple[Revision, ...] | None = None
    """Of the failed rollouts, those revisions that were played to their end; None if no revision phase ran."""
    retries: tuple[Retry, ...] = ()
    """Of the failed rollouts, those retries that were played to their end."""

    @property
    def has_spread(self) -> bool:
        """Whether its rollouts earned different rewards: without, a comparison within the group teaches nothing."""
        return len({sum(step.reward for step in trajectory.steps) for trajectory in self.trajectories}) > 1

    def __post_init__(self) -> None:
        before = -1
        for number, trajectory in enumerate(self.trajectories):
            same_task = (trajectory.task_id, trajectory.seed) == (self.task_id, self.seed)
            if not same_task or trajectory.sibling <= before:
                raise ValueError(
                    f"group ({self.task_id!r}, seed {self.seed}) got trajectory {number} of "
                    f"({trajectory.task_id!r}, seed {trajectory.seed}, sibling {trajectory.sibling})"
                )
            before = trajectory.sibling
        failed = {trajectory.sibling for trajectory in self.trajectories if not trajectory.success}
        for again in (*(self.revisions or ()), *self.retries):
            revised = again.trajectory
            if (revised.task_id, revised.seed) != (self.task_id, self.seed) or revised.sibling not in failed:
                raise ValueError(
                    f"group ({self.task_id!r}, seed {self.seed}) got a revision of ({revised.task_id!r}, seed "
                    f"{revised.seed}, sibling {revised.sibling}): revise its own failed rollouts, {sorted(failed)}"
                )
