"""The contract of an estimator: `StepBatch` in, `Advantages` out, and `Needs`, what it asks of the trainer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, cast

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from estimators.algebra.columns import (
    check_constant,
    check_directions,
    check_finite,
    check_rising,
    check_share,
    column,
    rollout_order,
)
from estimators.algebra.sets import Sets, changes, cut
from estimators.options import check_options

UNPARSED = -1
"""The action code of a response without an action key. It equals no other row's action, not even another -1."""

ActionKey = Literal["action", "first_token"]
Unit = Literal["turn", "token"]
"""What a critic gives a value to: a turn at its prompt, or each token of a response."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepBatch:
    """The columns of one update: one row per environment step that the policy took, in any order, without padding.

    Raises ValueError where a column breaks the line below it, naming the first offending row, its value and the
    remedy.

    >>> StepBatch(group=[7, 7], trajectory=[1, 1], time=[1, 0], reward=[10.0, 0.0], invalid=[False, False],
    ...           state=[5, 4], action=[0, 1]).rollouts.order
    array([1, 0])
    """

    group: NDArray[np.int64]
    """int64 [N]. The task instance; all rollouts of one task share it."""
    trajectory: NDArray[np.int64]
    """int64 [N]. The rollout, unique over the batch; it lies in one group."""
    time: NDArray[np.int64]
    """int64 [N]. Step inside the rollout, counted from 0: 0..T-1, each once."""
    reward: NDArray[np.float64]
    """float64 [N], finite. The reward of this step: the environment's, and what a scorer added."""
    invalid: NDArray[np.bool_]
    """bool [N]. Whether the response broke the format or named no action."""
    state: NDArray[np.int64]
    """int64 [N]. Code of the state before the step; within a group equal states have equal codes."""
    action: NDArray[np.int64]
    """int64 [N]. Code of the action key; `UNPARSED` where there is none."""
    embedding: NDArray[np.float32] | None = None
    """float32 [N, D]. The policy's hidden state at the last prompt token, finite and not of zero length."""
    repair: NDArray[np.float64] | None = None
    """float64 [N] in [0, 1]. How far revisions repaired the rollout (IBPO's s), constant over the rollout."""
    edited: NDArray[np.bool_] | None = None
    """bool [N]. Whether a successful revision changed the row's action (IBPO)."""
    similar: NDArray[np.int64] | None = None
    """int64 [N]. Code of the set of similar observations, for an estimator that needs a similarity below 1."""
    values: NDArray[np.float64] | None = None
    """float64 [N], finite. What a critic expects from the row's state on, in units of reward."""
    response_tokens: NDArray[np.int64] | None = None
    """int64 [N]. Tokens of the row's response, 1 or more; there where `token_values` is."""
    token_values: NDArray[np.float64] | None = None
    """float64 [R], R = sum(response_tokens), finite. What a critic expects before each response token, row by row."""
    milestone: NDArray[np.int64] | None = None
    """int64 [N]. Sub-goals that the rollout has reached after the step; 0 or more, and it never falls."""
    step_reward: NDArray[np.float64] | None = None
    """float64 [N], finite. The part of `reward` that a scorer added; None where nobody did."""
    switch: NDArray[np.bool_] | None = None
    """bool [N]. Whether the response chose another sub-goal than the one in force."""
    rollouts: Sets = field(init=False, repr=False)
    """The rows cut by rollout, ordered by (group, trajectory, time)."""
    groups: Sets = field(init=False, repr=False)
    """The rows cut by group, in the same order."""

    def __post_init__(self) -> None:
        self._coerce()
        check_finite("reward", self.reward)
        order = rollout_order(self.group, self.trajectory, self.time)
        if self.embedding is not None:
            check_directions("embedding", self.embedding)
        if self.values is not None:
            check_finite("values", self.values)
        self._check_tokens()
        if self.step_reward is not None:
            check_finite("step_reward", self.step_reward)
        if self.repair is not None:
            check_share("repair", self.repair)
            check_constant("repair", self.repair, self.trajectory, order)
        if self.milestone is not None:
            check_rising("milestone", self.milestone, self.trajectory, order)
        object.__setattr__(self, "rollouts", cut(order, changes(self.trajectory[order])))
        object.__setattr__(self, "groups", cut(order, changes(self.group[order])))

    def _coerce(self) -> None:
        object.__setattr__(self, "group", column("group", self.group, np.int64, rows=None))
        rows = len(self.group)
        for name, dtype in _COLUMNS.items():
            value: Any = getattr(self, name)
            if value is not None:
                dims = 2 if name == "embedding" else 1
                length = None if name == "token_values" else rows
                object.__setattr__(self, name, column(name, value, dtype, rows=length, dims=dims))
            elif name not in _OPTIONAL:
                raise ValueError(f"{name} is None: only {', '.join(sorted(_OPTIONAL))} may be missing")

    def _check_tokens(self) -> None:
        lens, values = self.response_tokens, self.token_values
        if (lens is None) != (values is None):
            raise ValueError("response_tokens and token_values come together: give both, or neither")
        if lens is None or values is None:
            return
        if (short := np.flatnonzero(lens < 1)).size:
            raise ValueError(f"row {short[0]}: response_tokens={lens[short[0]]}: every response has at least 1")
        if len(values) != lens.sum():
            raise ValueError(f"token_values has {len(values)} entries: response_tokens sums to {lens.sum()}")
        check_finite("token_values", values)

    def __len__(self) -> int:
        return len(self.group)

    def needed(self, name: str, by: str) -> NDArray[Any]:
        """The optional column `name` [N] or [N, D]. Raises ValueError where it is missing, naming who needs it."""
        value: NDArray[Any] | None = getattr(self, name)
        if value is None:
            raise ValueError(f"{by} needs {name}, the batch has None in all rows: {_OPTIONAL[name]}")
        return value

    @property
    def siblings(self) -> Sets:
        """The M rollouts cut by group. Rollout m is set m of `rollouts`, group g is set g of `groups`."""
        return cut(np.arange(len(self.rollouts.size)), changes(self.group[self.rollouts.firsts()]))

    @property
    def anchors(self) -> Sets:
        """The rows cut by group and state: GiGPO's anchor groups, the nodes of the group's merged graph."""
        return self.groups.split(self.state)

    @property
    def keys(self) -> NDArray[np.int64]:
        """Action keys [N]; every row without one has a key of its own."""
        unparsed = self.action == UNPARSED
        if not unparsed.any():
            return self.action
        codes = np.unique(self.action, return_inverse=True)[1]  # 0..K-1, so that N.. is free for the rows' own keys
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
    "values": np.float64,
    "response_tokens": np.int64,
    "token_values": np.float64,
    "milestone": np.int64,
    "step_reward": np.float64,
    "switch": np.bool_,
}
_OPTIONAL: Mapping[str, str] = {  # the remedy where the column is needed and missing
    "embedding": "let the learner keep hidden states",
    "repair": "run the revision phase, or take grpo",
    "edited": "run the revision phase, or take grpo",
    "similar": "group the observations by similarity, or set similarity=1",
    "values": "let the learner train a critic",
    "response_tokens": "let the learner train a critic of tokens",
    "token_values": "let the learner train a critic of tokens",
    "milestone": "take a world that counts its milestones, and rollouts that were recorded since it does",
    "step_reward": "choose a scorer, such as scorer=milestones",
    "switch": "take prompts that ask for sub-goals, env.style=subgoals",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Advantages:
    """Credit per row, in the batch's row order.

    Raises ValueError where a number is not finite, naming the first, and where a column has another length.
    """

    value: NDArray[np.float64]
    """float64 [N], finite. The learner gives it to every token of the row's response, unless there is `token_value`."""
    mask: NDArray[np.bool_] | None = None
    """bool [N]. False keeps a row out of the gradient; None keeps all rows in."""
    token_value: NDArray[np.float64] | None = None
    """float64 [R], finite. Credit of each response token, in the order of `StepBatch.token_values`; None: all of a row
    have its `value`."""
    returns: NDArray[np.float64] | None = None
    """float64 [N], with `token_value` [R], finite. What the critic should have said, in units of reward; None without a
    critic."""
    diagnostics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Numbers for the log. The learner never reads them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", column("value", self.value, np.float64, rows=None))
        check_finite("value", self.value)
        if self.mask is not None:
            object.__setattr__(self, "mask", column("mask", self.mask, np.bool_, rows=len(self.value)))
        if self.token_value is not None:
            object.__setattr__(self, "token_value", column("token_value", self.token_value, np.float64, rows=None))
            check_finite("token_value", self.token_value)
        if self.returns is not None:
            length = len(self.value if self.token_value is None else self.token_value)
            object.__setattr__(self, "returns", column("returns", self.returns, np.float64, rows=length))
            check_finite("returns", self.returns)


class Estimator(Protocol):
    """A pure function of columns, such as a plain Python function.

    A class may also state `needs`, an attribute or property of type `Needs`, and have a method `calibrated`.
    """

    def __call__(self, batch: StepBatch, /) -> Advantages: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an estimator asks of the trainer; by default nothing but the columns that every batch has.

    Raises ValueError for a value out of range and for parts that do not go together.
    """

    columns: frozenset[str] = frozenset()
    """Optional columns of `StepBatch` that it reads: "embedding", "repair", "edited", "similar", "values",
    "token_values" (with "response_tokens"), "milestone", "step_reward", "switch". The column "reward" holds
    "step_reward" anyway, where there is one.
    """
    layer: int | None = None
    """Index into the tuple of hidden states that the embedding is read from; needed with "embedding"."""
    action_key: ActionKey = "action"
    """What `action` codes stand for: the executed action, or the first 8 tokens of the response."""
    similarity: Annotated[float, Interval(ge=0, le=1)] = 1.0
    """Texts of at least this ratio have one code in the column "similar"; below 1 it needs that column."""
    group_based: bool = False
    """Whether it compares the rollouts of a group, so that a group of one rollout makes no sense."""

    def __post_init__(self) -> None:
        columns: Any = self.columns
        if isinstance(columns, str):
            raise ValueError(f"columns={columns!r} is one word: give a set, columns={{{columns!r}}}")
        object.__setattr__(self, "columns", frozenset(columns))
        check_options(self)
        if ("embedding" in self.columns) != (self.layer is not None):
            raise ValueError(
                f"layer={self.layer} with columns={sorted(self.columns)}: give an embedding an integer layer, such as "
                "-8, and leave the layer out without one"
            )
        if ("similar" in self.columns) != (self.similarity < 1.0):
            raise ValueError(
                f"similarity={self.similarity} with columns={sorted(self.columns)}: give the column 'similar' a "
                "similarity below 1, and leave it at 1 without the column"
            )

    @property
    def critic(self) -> Unit | None:
        """What the learner trains a critic of: turns for "values", tokens for "token_values"; None: it has none."""
        if "token_values" in self.columns:
            return "token"
        return "turn" if "values" in self.columns else None

    @property
    def revisions(self) -> bool:
        """Whether a revision phase has to make its columns: "repair" or "edited" is among them."""
        return not self.columns.isdisjoint({"repair", "edited"})


_OUTSIDE = ("requires", "layer", "action_key", "similarity", "group_based")  # needs as they were stated before `Needs`


def needs(estimator: Estimator) -> Needs:
    """What an estimator states in its attribute or property `needs`; the defaults where it states nothing.

    Raises ValueError where `needs` is no `Needs`, and where one of its parts is stated outside of it.
    """
    who = getattr(estimator, "__name__", type(estimator).__name__)
    if "needs" not in dir(estimator):
        outside = [name for name in _OUTSIDE if hasattr(estimator, name)]
        if outside:
            parts = ", ".join(f"{'columns' if name == 'requires' else name}=..." for name in outside)
            raise ValueError(
                f"{who} states {', '.join(outside)} outside of `needs`, where nobody reads it: "
                f"write needs = Needs({parts}), or needs = Needs() where it is an option of its own"
            )
        return Needs()
    stated: Any = cast(Any, estimator).needs  # not in the protocol: a plain function has none
    if not isinstance(stated, Needs):
        raise ValueError(f"{who}.needs is {stated!r:.80}: make it an attribute or a property of type Needs")
    return stated


def calibrated(estimator: Estimator, batch: StepBatch) -> Estimator:
    """The estimator with everything that it measures once, at the first update, measured on `batch`."""
    method = getattr(estimator, "calibrated", None)
    return estimator if method is None else method(batch)
