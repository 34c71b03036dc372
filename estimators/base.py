"""The contract of an estimator: columns in (`StepBatch`), credit out (`Advantages`), and what the trainer may ask."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.columns import (
    check_constant,
    check_directions,
    check_finite,
    check_share,
    column,
    rollout_order,
)
from estimators.algebra.sets import Sets, changes, cut

UNPARSED = -1  # the action code of a response that names no action: it equals no other row's, not even another -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepBatch:
    """One row per environment step that the policy took, in any order; no padding rows.

    group: int64 [N], the task instance that all rollouts of one task share.
    trajectory: int64 [N], the rollout, unique over the batch; it lies in one group.
    time: int64 [N], 0-based step inside the rollout; 0..T-1, each once.
    reward: float64 [N], the environment's reward of this step.
    invalid: bool [N], the response broke the format or named no action.
    state: int64 [N], code of the anchor observation: equal text, equal code, within a group.
    action: int64 [N], code of the action key; `UNPARSED` where there is none.
    embedding: float32 [N, D], the actor's late hidden state at the last prompt token.
    repair: float64 [N] in [0, 1], IBPO's s of the rollout, constant over it.
    edited: bool [N], IBPO: the row's action was changed by a successful revision.
    similar: int64 [N], code of the group of similar observations, for an estimator with `similarity` below 1.

    rollouts, groups: the rows by rollout and by group, both in the order (group, trajectory, time).

    Raises ValueError, naming the first offending row, its value and the remedy, where a column breaks its line above.

    >>> StepBatch(group=[7, 7], trajectory=[1, 1], time=[1, 0], reward=[10.0, 0.0], invalid=[False, False],
    ...           state=[5, 4], action=[0, 1]).rollouts.order
    array([1, 0])
    """

    group: NDArray[np.int64]
    trajectory: NDArray[np.int64]
    time: NDArray[np.int64]
    reward: NDArray[np.float64]
    invalid: NDArray[np.bool_]
    state: NDArray[np.int64]
    action: NDArray[np.int64]
    embedding: NDArray[np.float32] | None = None
    repair: NDArray[np.float64] | None = None
    edited: NDArray[np.bool_] | None = None
    similar: NDArray[np.int64] | None = None
    rollouts: Sets = field(init=False, repr=False)
    groups: Sets = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._coerce()
        check_finite("reward", self.reward)
        order = rollout_order(self.group, self.trajectory, self.time)
        if self.embedding is not None:
            check_directions("embedding", self.embedding)
        if self.repair is not None:
            check_share("repair", self.repair)
            check_constant("repair", self.repair, self.trajectory, order)
        object.__setattr__(self, "rollouts", cut(order, changes(self.trajectory[order])))
        object.__setattr__(self, "groups", cut(order, changes(self.group[order])))

    def _coerce(self) -> None:
        object.__setattr__(self, "group", column("group", self.group, np.int64, rows=None))
        rows = len(self.group)
        for name, dtype in _COLUMNS.items():
            value: Any = getattr(self, name)
            if value is not None:
                dims = 2 if name == "embedding" else 1
                object.__setattr__(self, name, column(name, value, dtype, rows=rows, dims=dims))
            elif name not in _OPTIONAL:
                raise ValueError(f"{name} is None: only {', '.join(sorted(_OPTIONAL))} may be missing")

    def __len__(self) -> int:
        return len(self.group)

    def needed(self, name: str, by: str) -> NDArray[Any]:
        """The optional column `name` [N] or [N, D]. Raises ValueError, naming who needs it, where it is missing."""
        value: NDArray[Any] | None = getattr(self, name)
        if value is None:
            raise ValueError(f"{by} needs {name}, the batch has None in all rows: {_OPTIONAL[name]}")
        return value

    @property
    def siblings(self) -> Sets:
        """The M rollouts cut by group; rollout m is set m of `rollouts`, group g is set g of `groups`."""
        return cut(np.arange(len(self.rollouts.size)), changes(self.group[self.rollouts.firsts()]))

    @property
    def anchors(self) -> Sets:
        """The groups cut into rows that stood in the same state: GiGPO's anchor groups, a graph's nodes."""
        return self.groups.split(self.state)

    @property
    def keys(self) -> NDArray[np.int64]:
        """Action keys [N], with a key of its own for every row that names no action."""
        unparsed = self.action == UNPARSED
        if not unparsed.any():
            return self.action
        codes = np.unique(self.action, return_inverse=True)[1]  # 0..K-1, which leaves room for the rows' own keys
        return np.where(unparsed, len(self) + np.arange(len(self)), codes)


_COLUMNS: Mapping[str, type[np.generic]] = {
    "trajectory": np.int64,
    "time": np.int64,
    "reward": np.float64,
    "invalid": np.bool_,
    "state": np.int64,
    "action": np.int64,
    "embedding": np.float32,
    "repair": np.float64,
    "edited": np.bool_,
    "similar": np.int64,
}
_OPTIONAL: Mapping[str, str] = {  # and what to do where one is needed and missing
    "embedding": "let the learner keep hidden states",
    "repair": "run the revision phase, or take grpo",
    "edited": "run the revision phase, or take grpo",
    "similar": "group the observations by similarity, or set similarity=1",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Advantages:
    """Credit per row, in the batch's row order.

    value: float64 [N], finite; the learner broadcasts it over the row's response tokens.
    mask: bool [N] or None; False = this row gives no gradient.
    diagnostics: numbers for the log, never read by the learner.

    Raises ValueError naming the first row that is not finite, or where the mask has another length.
    """

    value: NDArray[np.float64]
    mask: NDArray[np.bool_] | None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", column("value", self.value, np.float64, rows=None))
        check_finite("value", self.value)
        if self.mask is not None:
            object.__setattr__(self, "mask", column("mask", self.mask, np.bool_, rows=len(self.value)))


class Estimator(Protocol):
    """A pure function of columns. A plain function will do; a class may add the facts that are asked for below."""

    def __call__(self, batch: StepBatch, /) -> Advantages: ...


def requires(estimator: Estimator) -> frozenset[str]:
    """The optional columns that it needs; none unless it says so in `requires`."""
    return frozenset(getattr(estimator, "requires", frozenset[str]()))


def needs_revisions(estimator: Estimator) -> bool:
    """Whether a revision phase has to make its columns: `repair` or `edited` is among those it requires."""
    return not requires(estimator).isdisjoint({"repair", "edited"})


def group_based(estimator: Estimator) -> bool:
    """Whether a group of one rollout makes no sense to it; False unless it says so in `group_based`."""
    return bool(getattr(estimator, "group_based", False))


def action_key(estimator: Estimator) -> str:
    """What the `action` codes stand for: "action" (executed), unless it says "first_token" (8 response tokens)."""
    return str(getattr(estimator, "action_key", "action"))


def hidden_layer(estimator: Estimator) -> int | None:
    """Index into the tuple of hidden states that its embedding is read from; None where it needs no embedding.

    Raises ValueError for an estimator that needs an embedding and names no `layer`.
    """
    if "embedding" not in requires(estimator):
        return None
    layer = getattr(estimator, "layer", None)
    if not isinstance(layer, int):
        raise ValueError(f"{estimator!r} requires an embedding but has layer={layer!r}: give it an integer, such as -8")
    return layer


def similarity(estimator: Estimator) -> float:
    """From which ratio on two observations count as one in the `similar` column; 1 where it needs no such column."""
    return float(getattr(estimator, "similarity", 1.0))


def calibrated(estimator: Estimator, batch: StepBatch) -> Estimator:
    """The estimator with what it measures once, at the first update, measured on `batch`; itself if nothing."""
    method = getattr(estimator, "calibrated", None)
    return estimator if method is None else method(batch)
