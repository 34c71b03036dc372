"""Rollouts on disk: JSON lines, one group per line, with token ids and log-probs, compressed with zstd."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from envs.base import Ending
from rollout.types import Completion, Retry, Revision, RolloutGroup, Step, Trajectory


def write_groups(path: Path, groups: Sequence[RolloutGroup]) -> None:
    """Write the groups to `path`. A kill leaves the old file: the new one is written beside it, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(path, zstandard.ZstdCompressor().compress("".join(map(_line, groups)).encode()))


def read_groups(path: Path) -> Iterator[RolloutGroup]:
    """Read what `write_groups` wrote. Raises ValueError for a file that is not whole."""
    try:
        text = zstandard.ZstdDecompressor().decompress(path.read_bytes()).decode()
    except zstandard.ZstdError as error:
        raise ValueError(f"{path} is no whole recording ({error}): delete it") from error
    for line in text.splitlines():
        yield _as_group(json.loads(line))


class GroupLog:
    """Groups on disk as they finish, one line of JSON each. A kill loses no more than the line that it cuts short."""

    def __init__(self, path: Path, groups: Sequence[RolloutGroup] = ()) -> None:
        """groups: those that the log begins with. Without any, the file is made with the first group that is added."""
        self._path = path
        if groups:
            _write_whole(path, "".join(map(_line, groups)).encode())
        else:
            path.unlink(missing_ok=True)

    def add(self, group: RolloutGroup) -> None:
        """Append one group. It is on disk when this returns."""
        with self._path.open("a") as file:
            file.write(_line(group))


def read_log(path: Path) -> Iterator[RolloutGroup]:
    """Read what a `GroupLog` wrote, without a last line that a kill cut short."""
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            yield _as_group(json.loads(line))


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.rename(path)


def _line(group: RolloutGroup) -> str:
    return json.dumps(_group(group)) + "\n"


def _group(group: RolloutGroup) -> dict[str, Any]:
    return {
        "task_id": group.task_id,
        "seed": group.seed,
        "trajectories": [_trajectory(trajectory) for trajectory in group.trajectories],
        "revisions": None if group.revisions is None else [_revision(revision) for revision in group.revisions],
        **({"retries": [_retry(retry) for retry in group.retries]} if group.retries else {}),
    }


def _retry(retry: Retry) -> dict[str, Any]:
    return {"reference": retry.reference, "pivot": retry.pivot} | _trajectory(retry.trajectory)


def _revision(revision: Revision) -> dict[str, Any]:
    trajectory = revision.trajectory
    own = {"reference": revision.reference, "credit": revision.credit}
    return own | _trajectory(trajectory)


def _trajectory(trajectory: Trajectory) -> dict[str, Any]:
    return {
        "sibling": trajectory.sibling,
        "ending": trajectory.ending,
        "success": trajectory.success,
        "score": trajectory.score,
        "steps": [_step(step) for step in trajectory.steps],
    }


def _step(step: Step) -> dict[str, Any]:
    completion = step.completion
    return {
        "observation": step.observation,
        "action": step.action,
        "valid": step.valid,
        "reward": step.reward,
        "state_key": step.state_key,
        "milestone": step.milestone,
        "step_reward": step.step_reward,
        "idle_turns": step.idle_turns,
        "prompt_ids": completion.prompt_ids.tolist(),
        "token_ids": completion.token_ids.tolist(),
        "logprobs": [float(value) for value in completion.logprobs],
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "policy_version": completion.policy_version,
    }


def _as_group(record: dict[str, Any]) -> RolloutGroup:
    revisions = record.get("revisions")  # older recordings do not have the key
    return RolloutGroup(
        task_id=record["task_id"],
        seed=record["seed"],
        trajectories=tuple(
            _as_trajectory(record, {"sibling": number} | trajectory)  # older recordings do not have the key
            for number, trajectory in enumerate(record["trajectories"])
        ),
        revisions=None if revisions is None else tuple(_as_revision(record, revision) for revision in revisions),
        retries=tuple(
            Retry(trajectory=_as_trajectory(record, retry), reference=retry["reference"], pivot=retry["pivot"])
            for retry in record.get("retries", ())
        ),
    )


def _as_revision(group: dict[str, Any], record: dict[str, Any]) -> Revision:
    trajectory = _as_trajectory(group, record)
    return Revision(trajectory=trajectory, reference=record["reference"], credit=record["credit"])


def _as_trajectory(group: dict[str, Any], record: dict[str, Any]) -> Trajectory:
    return Trajectory(
        task_id=group["task_id"],
        sibling=record["sibling"],
        seed=group["seed"],
        steps=tuple(_as_step(step) for step in record["steps"]),
        ending=Ending(record["ending"]),
        success=record["success"],
        score=record["score"],
    )


def _as_step(record: dict[str, Any]) -> Step:
    return Step(
        observation=record["observation"],
        completion=Completion(
            prompt_ids=np.asarray(record["prompt_ids"], np.int32),
            token_ids=np.asarray(record["token_ids"], np.int32),
            logprobs=np.asarray(record["logprobs"], np.float32),
            text=record["text"],
            finish_reason=record["finish_reason"],
            policy_version=record["policy_version"],
        ),
        action=record["action"],
        valid=record["valid"],
        reward=record["reward"],
        state_key=record["state_key"],
        milestone=record.get("milestone"),  # older recordings do not have this key and the next two
        step_reward=record.get("step_reward"),
        idle_turns=record.get("idle_turns", 0),
    )
