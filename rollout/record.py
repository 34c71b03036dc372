"""Trajectories on disk: one JSON object per group, zstd-compressed, with ids and log-probs; and back."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from envs.base import Ending
from rollout.types import Completion, Revision, RolloutGroup, Step, Trajectory


def write_groups(path: Path, groups: Sequence[RolloutGroup]) -> None:
    """Write beside and rename, so that a file under its own name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    lines = "".join(json.dumps(_group(group)) + "\n" for group in groups)
    partial.write_bytes(zstandard.ZstdCompressor().compress(lines.encode()))
    partial.rename(path)


def read_groups(path: Path) -> Iterator[RolloutGroup]:
    """Raises ValueError for a file that is not whole."""
    try:
        text = zstandard.ZstdDecompressor().decompress(path.read_bytes()).decode()
    except zstandard.ZstdError as error:
        raise ValueError(f"{path} is no whole recording ({error}): delete it") from error
    for line in text.splitlines():
        yield _as_group(json.loads(line))


def _group(group: RolloutGroup) -> dict[str, Any]:
    return {
        "task_id": group.task_id,
        "seed": group.seed,
        "trajectories": [_trajectory(one) for one in group.trajectories],
        "revisions": None if group.revisions is None else [_revision(one) for one in group.revisions],
    }


def _revision(revision: Revision) -> dict[str, Any]:
    played = revision.trajectory
    named = {"sibling": played.sibling, "reference": revision.reference, "credit": revision.credit}
    return named | _trajectory(played)


def _trajectory(trajectory: Trajectory) -> dict[str, Any]:
    return {
        "ending": trajectory.ending,
        "success": trajectory.success,
        "score": trajectory.score,
        "steps": [_step(step) for step in trajectory.steps],
    }


def _step(step: Step) -> dict[str, Any]:
    said = step.completion
    return {
        "observation": step.observation,
        "action": step.action,
        "valid": step.valid,
        "reward": step.reward,
        "state_key": step.state_key,
        "prompt_ids": said.prompt_ids.tolist(),
        "token_ids": said.token_ids.tolist(),
        "logprobs": [float(value) for value in said.logprobs],
        "text": said.text,
        "finish_reason": said.finish_reason,
        "policy_version": said.policy_version,
    }


def _as_group(record: dict[str, Any]) -> RolloutGroup:
    revisions = record.get("revisions")  # not in recordings from before there were any
    return RolloutGroup(
        task_id=record["task_id"],
        seed=record["seed"],
        trajectories=tuple(_as_trajectory(record, one, sibling) for sibling, one in enumerate(record["trajectories"])),
        revisions=None if revisions is None else tuple(_as_revision(record, one) for one in revisions),
    )


def _as_revision(group: dict[str, Any], record: dict[str, Any]) -> Revision:
    played = _as_trajectory(group, record, record["sibling"])
    return Revision(trajectory=played, reference=record["reference"], credit=record["credit"])


def _as_trajectory(group: dict[str, Any], record: dict[str, Any], sibling: int) -> Trajectory:
    return Trajectory(
        task_id=group["task_id"],
        sibling=sibling,
        seed=group["seed"],
        steps=_as_steps(record["steps"]),
        ending=Ending(record["ending"]),
        success=record["success"],
        score=record["score"],
    )


def _as_steps(records: Iterable[dict[str, Any]]) -> tuple[Step, ...]:
    return tuple(
        Step(
            observation=one["observation"],
            completion=Completion(
                prompt_ids=np.asarray(one["prompt_ids"], np.int32),
                token_ids=np.asarray(one["token_ids"], np.int32),
                logprobs=np.asarray(one["logprobs"], np.float32),
                text=one["text"],
                finish_reason=one["finish_reason"],
                policy_version=one["policy_version"],
            ),
            action=one["action"],
            valid=one["valid"],
            reward=one["reward"],
            state_key=one["state_key"],
        )
        for one in records
    )
