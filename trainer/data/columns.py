"""The one translator between rooms: rollouts become an estimator's columns and a learner's tokens.

Rows are in one order everywhere: groups, then siblings, then time.
"""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from estimators import UNPARSED, StepBatch
from rollout.revise import edits, repairs
from rollout.types import RolloutGroup, Step, Trajectory
from trainer.data.similar import similar_codes
from trainer.data.tokens import TokenBatch

FIRST_TOKENS = 8  # 2606.25556: the `first_token` key of a row


def rows(groups: Sequence[RolloutGroup]) -> list[tuple[int, int, int, Step]]:
    """(group, trajectory, time, step) of every row. Raises ValueError when there are none."""
    found: list[tuple[int, int, int, Step]] = []
    trajectory = 0
    for group_number, group in enumerate(groups):
        for rollout in group.trajectories:
            found += [(group_number, trajectory, time, step) for time, step in enumerate(rollout.steps)]
            trajectory += 1
    if not found:
        raise ValueError("no rollouts to learn from: every group was dropped")
    return found


def step_batch(
    groups: Sequence[RolloutGroup],
    *,
    embedding: NDArray[np.float32] | None,
    action_key: str = "action",
    similarity: float = 1.0,
) -> StepBatch:
    """Columns for an estimator. embedding float32 [N, D]; action_key "action" (executed text) or "first_token".

    similarity: below 1, states whose texts are that alike get one code in the column `similar`.
    `repair` and `edited` are there where every group went through a revision phase.
    """
    table = rows(groups)
    revised = _revised(groups)
    return StepBatch(
        group=np.array([group for group, _, _, _ in table], np.int64),
        trajectory=np.array([trajectory for _, trajectory, _, _ in table], np.int64),
        time=np.array([time for _, _, time, _ in table], np.int64),
        reward=np.array([step.reward for *_, step in table], np.float64),
        invalid=np.array([not step.valid for *_, step in table], np.bool_),
        state=codes((group, step.state_key) for group, _, _, step in table),
        action=_actions(table, action_key),
        similar=_similar(table, similarity) if similarity < 1.0 else None,
        embedding=embedding,
        repair=_repair(groups) if revised else None,
        edited=np.array([mark.any() for mark in _edits(groups)]) if revised else None,
    )


def token_mask(groups: Sequence[RolloutGroup]) -> NDArray[np.bool_] | None:
    """Which response tokens may be learned from, in row order: of an edited row the edited ones, of any other all. [R]

    None where no revision phase ran. Whether a row is learned from at all is the estimator's word.
    """
    if not _revised(groups):
        return None
    return np.concatenate([mark if mark.any() else ~mark for mark in _edits(groups)])


def _revised(groups: Sequence[RolloutGroup]) -> bool:
    return all(group.revisions is not None for group in groups)


def _repair(groups: Sequence[RolloutGroup]) -> NDArray[np.float64]:
    lengths = [len(trajectory.steps) for trajectory in trajectories(groups)]
    return np.repeat(np.concatenate([repairs(group) for group in groups]), lengths)


def _edits(groups: Sequence[RolloutGroup]) -> list[NDArray[np.bool_]]:
    return [mark for group in groups for mark in edits(group)]


def _similar(table: Sequence[tuple[int, int, int, Step]], threshold: float) -> NDArray[np.int64]:
    return similar_codes([step.state_key for *_, step in table], [group for group, *_ in table], threshold)


def _actions(table: Sequence[tuple[int, int, int, Step]], action_key: str) -> NDArray[np.int64]:
    """Codes of the executed actions, UNPARSED where a response named none; or of the first response tokens. [N]"""
    if action_key == "first_token":
        return codes(tuple(step.completion.token_ids[:FIRST_TOKENS].tolist()) for *_, step in table)
    valid = np.array([step.valid for *_, step in table], np.bool_)
    named = np.full(len(table), UNPARSED, np.int64)
    named[valid] = codes(step.action for *_, step in table if step.valid)
    return named


def token_batch(groups: Sequence[RolloutGroup]) -> TokenBatch:
    """Prompt and response ids of every row, as they went through the engine."""
    table = rows(groups)
    said = [step.completion for *_, step in table]
    return pack(
        [completion.prompt_ids for completion in said],
        [completion.token_ids for completion in said],
        trajectory=[trajectory for _, trajectory, _, _ in table],
        time=[time for _, _, time, _ in table],
    )


def pack(
    prompts: Sequence[NDArray[np.int32]],
    responses: Sequence[NDArray[np.int32]],
    *,
    trajectory: Sequence[int],
    time: Sequence[int],
) -> TokenBatch:
    """Rows of ids as one ragged batch."""
    pieces = [ids for pair in zip(prompts, responses, strict=True) for ids in pair]
    return TokenBatch(
        tokens=np.concatenate(pieces).astype(np.int32),
        prompt_lens=np.array([len(ids) for ids in prompts], np.int32),
        response_lens=np.array([len(ids) for ids in responses], np.int32),
        trajectory=np.array(trajectory, np.int64),
        time=np.array(time, np.int64),
    )


def rollout_logprobs(groups: Sequence[RolloutGroup]) -> NDArray[np.float32]:
    """The engine's log-probs of every response token, in row order. [R]"""
    return np.concatenate([step.completion.logprobs for *_, step in rows(groups)])


def trajectories(groups: Sequence[RolloutGroup]) -> list[Trajectory]:
    return [trajectory for group in groups for trajectory in group.trajectories]


def codes(keys: Iterable[Hashable]) -> NDArray[np.int64]:
    """Equal keys, equal codes, numbered by first appearance. [N]

    >>> codes(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64)
