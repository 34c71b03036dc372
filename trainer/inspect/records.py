"""What the page reads, as records: each becomes a JSON object with the names of its fields.

Numbers of rows are columns, one entry for each row, so that the page stays small. A text stands once, in `texts`; rows
name it by its place there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorRecord:
    """An estimator of the page."""

    label: str
    """Its name, and the options that were given."""

    title: str
    """The first line of its description: what it does and the paper."""

    gamma: float
    """Discount of the returns that are shown with it."""

    states: str | None
    """What it takes for one state, in words; None where it compares no states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditRecord:
    """One estimator's credit of the n rows of a group."""

    value: Sequence[float]
    """[n]. The credit: what multiplies the gradient of the row's tokens."""

    episode: Sequence[float] | None
    """[n]. The episode term; None where the estimator states none."""

    live: Sequence[bool] | None
    """[n]. Whether the row is learned from; None: all are."""

    critic: Sequence[float] | None
    """[n]. What a critic expected from the turn on, in units of reward; None where the estimator reads none."""

    live_tokens: Sequence[Sequence[bool]] | None
    """Of each row: which of its tokens may be learned from; None: all may."""

    token_value: Sequence[Sequence[float]] | None
    """Of each row: the credit of its tokens; None where all tokens of a turn share the turn's."""

    token_critic: Sequence[Sequence[float]] | None
    """Of each row: what a critic of tokens expected before each of them; None without one."""

    returns: Sequence[float]
    """[n]. Return to go with the estimator's discount and penalties."""

    state: Sequence[int]
    """[n]. Code of the set of visits that the row was compared with; without states, of the rows with equal text."""

    value_here: Sequence[float]
    """[n]. V: mean return to go over these visits."""

    action: Sequence[int]
    """[n]. Code of those of them that the estimator takes for the same action."""

    value_action: Sequence[float]
    """[n]. Q: mean return to go over these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRecord:
    """The group's merged graph: rows with equal state text are visits to one node."""

    text: Sequence[int]
    """Of each node: its state's text."""

    layer: Sequence[float]
    """Of each node: the earliest turn at which a rollout was there. The two ends come last."""

    lane: Sequence[float]
    """Of each node: its place across the layer, 0 in the middle."""

    source: Sequence[int]
    """[n]. The node in which each row acted."""

    target: Sequence[int]
    """[n]. The node to which it led; the node after the last state is success, the next one failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenRecord:
    """Hidden states of the n rows of a group."""

    x: Sequence[float]
    """[n]. Along the group's first principal axis, of vectors of unit length."""

    y: Sequence[float]
    """[n]. Along its second."""

    kept: float
    """Share of the variance that the two axes keep."""

    near: Sequence[Sequence[int]]
    """[n, k]. The nearest other rows, nearest first."""

    cosine: Sequence[Sequence[float]]
    """[n, k]. Their cosine with the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """Response tokens of the n rows of a group."""

    piece: Sequence[Sequence[int]]
    """Of each row: its tokens as texts."""

    engine: Sequence[Sequence[float]]
    """Of each row: log-probs of the engine that sampled, in nats."""

    gap: Sequence[Sequence[float]] | None
    """Of each row: the learner's log-probs before the update less the engine's, in nats; None if not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRecord:
    """One rollout of a group."""

    start: int
    """Its first row in the group."""

    steps: int
    """Its turns."""

    success: bool
    """Whether it solved the task."""

    ending: str
    """Why it is over."""

    total: float
    """Its undiscounted return, a scorer's rewards included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """A group of rollouts. Its n rows stand rollout by rollout, in order of time."""

    texts: Sequence[str]
    """Every text of the group, once."""

    rollouts: Sequence[RolloutRecord]
    """By sibling."""

    observation: Sequence[int]
    """[n]. What the agent saw."""

    response: Sequence[int]
    """[n]. What the policy answered."""

    action: Sequence[int]
    """[n]. What the world was given."""

    key: Sequence[int]
    """[n]. Code of the action; a response that names none has a code of its own."""

    valid: Sequence[bool]
    """[n]. Whether the response had the form that was asked for."""

    reward: Sequence[float]
    """[n]. What the world paid for the turn."""

    step_reward: Sequence[float] | None
    """[n]. What a scorer added to it; None without one."""

    credit: Mapping[str, CreditRecord]
    """By the estimator's label."""

    graph: GraphRecord
    """The merged state graph."""

    hidden: HiddenRecord | None
    """Hidden states; None where they were not recorded."""

    tokens: TokenRecord | None
    """Response tokens; None where the policy gave none."""

    truth: Sequence[float] | None
    """[n]. The true advantage, in units of reward; None where nobody knows it."""

    truth_error: Sequence[float] | None
    """[n]. Half of its 95 % interval; None where it is exact, or not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupHead:
    """What the page says about a group before it is chosen."""

    task: str
    """The task's id."""

    rollouts: int
    """Its rollouts."""

    won: int
    """Those that solved the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateHead:
    """An update of the page. Its groups' own records are read when they are chosen."""

    update: int
    """Its number, from 1."""

    groups: Sequence[GroupHead]
    """In the order of the recording."""

    scale: Mapping[str, float]
    """By estimator: root mean square of its credit over the update, 1 where all credit is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRecord:
    """What the page says about the whole run."""

    run: str
    """The run's folder."""

    world: str
    """Its world; empty where the run's settings are not there."""

    own: str
    """The estimator that it was trained with; empty where the run's settings are not there."""

    estimators: Sequence[EstimatorRecord]
    """The first is shown first."""

    updates: Sequence[UpdateHead]
    """In the order asked for."""

    missing: Sequence[str]
    """What was not recorded, a line each."""

    follows: bool
    """Whether a server that follows the run gave the page, and is asked for newer updates."""
