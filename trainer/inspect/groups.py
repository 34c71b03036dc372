"""Recorded groups as the records that the page reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators import StepBatch
from rollout.types import RolloutGroup, Step, Truncated
from trainer.data.columns import live_rows, token_mask
from trainer.data.rows import RowTable, trajectories
from trainer.data.tokens import offsets
from trainer.inspect.credit import RowCredit
from trainer.inspect.graph import merged_graph
from trainer.inspect.hidden import hidden_record
from trainer.inspect.records import CreditRecord, GroupHead, GroupRecord, RolloutRecord, UpdateHead
from trainer.inspect.shorter import shorter
from trainer.inspect.tokens import Spell, token_record


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """What the page shows of one update."""

    update: int
    """Its number, from 1."""

    rows: RowTable
    """Its rollouts."""

    batch: StepBatch
    """Their columns, actions told apart by what was executed."""

    credit: Mapping[str, RowCredit]
    """Credit of the rows, by the estimator's label."""

    truncated: Truncated = "keep"
    """What the run did with responses that were cut at their longest length."""

    logprobs: NDArray[np.float32] | None = None
    """The learner's log-probs of the response tokens; None where they were not recorded."""

    truth: NDArray[np.float64] | None = None
    """The true advantage of the rows; None where nobody knows it."""

    truth_error: NDArray[np.float64] | None = None
    """Half of its 95 % interval; None where it is exact, or not known."""


@dataclass(slots=True)
class Texts:
    """Texts, each once, and the place of each."""

    texts: list[str] = field(default_factory=list)
    _place: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> int:
        """Where the text stands; a new one is put at the end."""
        if text not in self._place:
            self._place[text] = len(self.texts)
            self.texts.append(text)
        return self._place[text]


def update_head(shown: Shown) -> UpdateHead:
    """What the page says about an update before a group is chosen."""
    return UpdateHead(
        update=shown.update,
        groups=[
            GroupHead(
                task=group.task_id,
                rollouts=len(group.trajectories),
                won=sum(trajectory.success for trajectory in group.trajectories),
            )
            for group in shown.rows.groups
        ],
        scale={label: _scale(credit.advantages.value) for label, credit in shown.credit.items()},
    )


def group_records(shown: Shown, spell: Spell) -> list[GroupRecord]:
    """The groups of an update, in its order."""
    sizes = [sum(len(rollout.steps) for rollout in group.trajectories) for group in shown.rows.groups]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    edges = offsets(shown.rows.response_lens)
    return [
        _group_record(shown, group, np.arange(start, start + size), edges, spell)
        for group, start, size in zip(shown.rows.groups, starts.tolist(), sizes, strict=True)
    ]


def _group_record(
    shown: Shown,
    group: RolloutGroup,
    rows: NDArray[np.int64],
    edges: NDArray[np.int64],
    spell: Spell,
) -> GroupRecord:
    batch, texts, spans = shown.batch, Texts(), _Spans(rows=rows, edges=edges)
    steps = [step for trajectory in group.trajectories for step in trajectory.steps]
    observation = [texts.place(step.observation) for step in steps]
    state = np.array([texts.place(_state_text(step)) for step in steps])
    response = [texts.place(step.completion.text) for step in steps]
    action = [texts.place(step.action) for step in steps]
    won = np.array([trajectory.success for trajectory in group.trajectories for _ in trajectory.steps])
    learner = None if shown.logprobs is None else spans.of(shown.logprobs)
    tokens = token_record(steps, learner, spell, texts.place)
    return GroupRecord(
        texts=texts.texts,
        rollouts=_rollouts(group),
        observation=observation,
        response=response,
        action=action,
        key=_codes(batch.keys[rows]),
        valid=[step.valid for step in steps],
        reward=shorter(np.array([step.reward for step in steps])),
        step_reward=None if batch.step_reward is None else shorter(batch.step_reward[rows]),
        credit={label: _credit_record(shown, credit, spans) for label, credit in shown.credit.items()},
        graph=merged_graph(batch, rows, state, won),
        hidden=None if batch.embedding is None else hidden_record(batch.embedding[rows]),
        tokens=tokens,
        truth=None if shown.truth is None else shorter(shown.truth[rows]),
        truth_error=None if shown.truth_error is None else shorter(shown.truth_error[rows]),
    )


def _state_text(step: Step) -> str:
    """What tells the state from others, in words."""
    return f"{step.state_key}\n\nIdle turns before: {step.idle_turns}" if step.idle_turns else step.state_key


def _rollouts(group: RolloutGroup) -> list[RolloutRecord]:
    records, start = list[RolloutRecord](), 0
    for trajectory in trajectories([group]):
        records.append(
            RolloutRecord(
                start=start,
                steps=len(trajectory.steps),
                success=trajectory.success,
                ending=str(trajectory.ending.value),
                total=float(sum(step.reward + (step.step_reward or 0.0) for step in trajectory.steps)),
            )
        )
        start += len(trajectory.steps)
    return records


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Spans:
    """The rows of a group, and where the tokens of every row begin."""

    rows: NDArray[np.int64]
    edges: NDArray[np.int64]

    def of(self, tokens: NDArray[Any]) -> list[NDArray[Any]]:
        """The part of a column of response tokens [R] that is of each of the rows."""
        return [tokens[self.edges[row] : self.edges[row + 1]] for row in self.rows.tolist()]


def _credit_record(shown: Shown, credit: RowCredit, spans: _Spans) -> CreditRecord:
    advantages, states, actions, rows = credit.advantages, credit.states, credit.actions, spans.rows
    live = live_rows(shown.rows, advantages.mask, truncated=shown.truncated)
    edited = None if advantages.mask is None else token_mask(shown.rows)

    def tokens(column: NDArray[np.float64] | None) -> list[list[float]] | None:
        return None if column is None else list(map(shorter, spans.of(column)))

    return CreditRecord(
        value=shorter(advantages.value[rows]),
        episode=None if credit.episode is None else shorter(credit.episode[rows]),
        live=None if live.all() else live[rows].tolist(),
        live_tokens=None if edited is None or edited.all() else [one.tolist() for one in spans.of(edited)],
        critic=None if credit.critic is None else shorter(credit.critic[rows]),
        token_value=tokens(advantages.token_value),
        token_critic=tokens(credit.token_critic),
        returns=shorter(credit.returns[rows]),
        state=_codes(states.label[rows]),
        value_here=shorter(states.mean(credit.returns)[states.label[rows]]),
        action=_codes(actions.label[rows]),
        value_action=shorter(actions.mean(credit.returns)[actions.label[rows]]),
    )


def _codes(labels: NDArray[np.int64]) -> list[int]:
    return np.unique(labels, return_inverse=True)[1].tolist()


def _scale(value: NDArray[np.float64]) -> float:
    """Root mean square; 1 where all is 0."""
    return float(np.sqrt(np.square(value).mean())) or 1.0
