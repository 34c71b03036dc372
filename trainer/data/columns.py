"""The one translator between rooms: rows of rollouts become an estimator's columns and a learner's tokens."""

from collections.abc import Hashable, Iterable
from itertools import groupby
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from envs.prompts.subgoals import switches
from estimators import UNPARSED, Needs, StepBatch
from rollout.types import Truncated
from trainer.data.rows import RowTable
from trainer.data.similar import similar_codes
from trainer.data.tokens import TokenBatch

FIRST_TOKENS = 8
"""How many response tokens make the `first_token` key of a row (2606.25556)."""
NOTHING = Needs()
"""An estimator that asks for nothing."""


def step_batch(
    table: RowTable,
    wants: Needs = NOTHING,
    *,
    embedding: NDArray[np.float32] | None,
    values: NDArray[np.float32] | None = None,
) -> StepBatch:
    """The columns an estimator reads, one entry per row.

    Args:
        wants: what `similar`, `switch` and `action` are made by (of the first token: the first FIRST_TOKENS of the
            response), and of which critic the values are. The other columns are there for every estimator.
        embedding: float32 [N, D], the hidden state at each row's last prompt token; None if no estimator reads it.
        values: float32 [N], what the critic expects from each row on, [R] from each response token on. Read only if
            the estimator wants them; None: no critic.

    Where idle turns end a rollout, a state also counts those before it.

    The columns `repair` and `edited` are filled where every group went through a revision phase, `milestone` where the
    world counts its milestones, `step_reward` where a scorer filled it.
    """
    expected = None if values is None else values.astype(np.float64)
    return StepBatch(
        group=np.array([row.group for row in table], np.int64),
        trajectory=np.array([row.trajectory for row in table], np.int64),
        time=np.array([row.time for row in table], np.int64),
        reward=np.array([row.step.reward + (row.step.step_reward or 0.0) for row in table], np.float64),
        invalid=np.array([not row.step.valid for row in table], np.bool_),
        state=codes((row.group, row.step.state_key, row.step.idle_turns) for row in table),
        action=_actions(table, wants.action_key),
        similar=_similar(table, wants.similarity) if "similar" in wants.columns else None,
        embedding=embedding,
        values=expected if wants.critic == "turn" else None,
        response_tokens=table.response_lens if expected is not None and wants.critic == "token" else None,
        token_values=expected if wants.critic == "token" else None,
        repair=table.repair,
        milestone=_milestones(table),
        step_reward=_step_rewards(table),
        switch=_switches(table) if "switch" in wants.columns else None,
        edited=None if table.edits is None else np.array([mark.any() for mark in table.edits]),
    )


def token_batch(table: RowTable) -> TokenBatch:
    """Prompt and response ids of every row, exactly as they went through the engine."""
    completions = [step.completion for step in table.steps]
    return TokenBatch.from_rows(
        [completion.prompt_ids for completion in completions],
        [completion.token_ids for completion in completions],
        trajectory=[row.trajectory for row in table],
        time=[row.time for row in table],
    )


def rollout_logprobs(table: RowTable) -> NDArray[np.float32]:
    """The engine's log-probs of every response token, in nats. [R]"""
    return np.concatenate([step.completion.logprobs for step in table.steps])


def token_mask(table: RowTable) -> NDArray[np.bool_] | None:
    """Which response tokens may be learned from: in an edited row the edited ones, in any other row all. [R]

    None where no revision phase ran. The estimator decides, with its row mask, which rows are learned from at all.
    """
    if table.edits is None:
        return None
    return np.concatenate([mark if mark.any() else ~mark for mark in table.edits])


def live_rows(table: RowTable, mask: NDArray[np.bool_] | None, *, truncated: Truncated) -> NDArray[np.bool_]:
    """Which rows are learned from: those of the estimator's mask (None: all), with "mask" only whole responses. [N]"""
    live = np.ones(len(table), np.bool_) if mask is None else mask
    if truncated != "mask":
        return live
    return live & np.array([not step.completion.truncated for step in table.steps])


def codes(keys: Iterable[Hashable]) -> NDArray[np.int64]:
    """An integer per key: equal keys get equal codes, numbered by first appearance. [N]

    >>> codes(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    code_of: dict[Hashable, int] = {}
    return np.array([code_of.setdefault(key, len(code_of)) for key in keys], np.int64)


def _switches(table: RowTable) -> NDArray[np.bool_]:
    """Whether each row chooses another sub-goal. The rows of a rollout stand together, in the order of its turns."""
    rollouts = groupby(table, key=attrgetter("trajectory"))
    return np.array([new for _, rows in rollouts for new in switches([row.step.completion.text for row in rows])])


def _milestones(table: RowTable) -> NDArray[np.int64] | None:
    """The milestones that each row's rollout has reached after it; None if a row does not tell. [N]"""
    milestones = [step.milestone for step in table.steps]
    return None if None in milestones else np.array(milestones, np.int64)


def _step_rewards(table: RowTable) -> NDArray[np.float64] | None:
    """What a scorer added to each row's reward; None where none did. [N]"""
    rewards = [step.step_reward for step in table.steps]
    return None if None in rewards else np.array(rewards, np.float64)


def _similar(table: RowTable, threshold: float) -> NDArray[np.int64]:
    apart = [(row.group, row.step.idle_turns) for row in table]
    return similar_codes([row.step.state_key for row in table], apart, threshold)


def _actions(table: RowTable, action_key: str) -> NDArray[np.int64]:
    """A code per row of the action it executed, or of its first response tokens. [N]

    An invalid response gets UNPARSED, also where the world took an action from it: rows of the right form must not
    share what is said of its form. With "first_token" every response has a key.
    """
    if action_key == "first_token":
        return codes(tuple(step.completion.token_ids[:FIRST_TOKENS].tolist()) for step in table.steps)
    valid = np.array([step.valid for step in table.steps], np.bool_)
    action = np.full(len(table), UNPARSED, np.int64)
    action[valid] = codes(step.action for step in table.steps if step.valid)
    return action
