"""The contract of a scorer: `Rollouts` in, `StepRewards` out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from envs.base import Env
from estimators import Needs
from estimators.algebra.columns import check_finite, column
from rollout.types import RolloutGroup, Trajectory
from trainer.data.rows import RowTable


class Twin(Protocol):
    """A copy of the policy that a scorer trains. At the start of a run it is the policy."""

    def logprobs(self) -> NDArray[np.float32]:
        """Its log-prob of every response token, row by row, as it is now. float32 [R], nats"""
        ...

    def ascend(self, credit: NDArray[np.float64], /) -> float:
        """Take one optimizer step up the gradient of sum_i credit_i log p(response of row i). credit: float64 [N]

        Returns the norm of the gradient before clipping; not finite where the step was skipped.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollouts:
    """All that a scorer may read: the rollouts of one update, and what surrounds them."""

    groups: tuple[RolloutGroup, ...]
    """The rollouts, by task."""
    env: Env
    """The driver's own copy of the world, for its expert. No episode of the run is under way in it."""
    folder: Path
    """Where a scorer may keep files of the run. It need not be there yet."""
    hidden: NDArray[np.float32] | None = None
    """float32 [N, D]. The policy's hidden state at each row's last prompt token; None for a scorer without a layer."""
    logprobs: NDArray[np.float32] | None = None
    """float32 [R], nats. Of each response token, row by row, from the policy before the update; None with
    learner.old_logprobs=engine, which a scorer that trains a twin cannot have."""
    twin: Twin | None = None
    """The copy of the policy that the scorer trains; None for a scorer without `trains_twin`."""

    @cached_property
    def table(self) -> RowTable:
        """The N rows, in the order in which they are rewarded: by group, sibling and time, then those of retries."""
        return RowTable(self.groups, retries=True)

    @property
    def played(self) -> list[tuple[RolloutGroup, Trajectory]]:
        """Each rollout with its group, in the order of the rows; then each retry."""
        return [(self.groups[number], rollout) for number, rollout in self.table.played]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepRewards:
    """What each step earns besides the world's reward.

    Raises ValueError where `value` is not finite, naming the first such row.
    """

    value: NDArray[np.float64]
    """float64 [N], finite, in the row order of `Rollouts.table`. Added to the world's reward."""
    diagnostics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Numbers for the log, which appear as `scorer/NAME`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", column("step_reward", self.value, np.float64, rows=None))
        check_finite("step_reward", self.value)


class Scorer(Protocol):
    """Rewards the steps of rollouts. A dataclass, whose fields are its options, or a plain function.

    A class may also state `layer`, an integer: then `Rollouts.hidden` holds the hidden states of that layer. With
    `trains_twin = True` it gets `Rollouts.twin`, trained at its field `learning_rate`, or at the policy's where that is
    None or not there. `moves_outcome = True` says that its rewards take back what the world paid, so that they mean
    something in the sum alone. And it may have a method `check(env, task_id)`, see `Checking`.
    """

    def __call__(self, rollouts: Rollouts, /) -> StepRewards: ...


@runtime_checkable
class Checking(Protocol):
    """A scorer that knows before a run whether it can work."""

    def check(self, env: Env, task_id: str) -> None:
        """Raise ValueError, in one line with the remedy, where it cannot. env: the world; task_id: one of its tasks."""
        ...


def layer_read(wants: Needs, scorer: Scorer | None) -> int | None:
    """The layer whose hidden states an update reads, for its estimator or its scorer; None for neither.

    Raises ValueError where the two name different ones.
    """
    own: int | None = getattr(scorer, "layer", None)
    if own is not None and wants.layer is not None and own != wants.layer:
        raise ValueError(
            f"scorer.layer={own} with estimator.layer={wants.layer}, and a pass reads one layer: give both the same"
        )
    return wants.layer if own is None else own


def trains_twin(scorer: Scorer | None) -> bool:
    """Whether the scorer trains a copy of the policy."""
    return bool(getattr(scorer, "trains_twin", False))
