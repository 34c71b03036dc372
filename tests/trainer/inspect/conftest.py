"""A small recorded run, by hand: states repeat, one rollout of three wins, and texts try to break out of the page."""

from pathlib import Path

import numpy as np
import pytest

from rollout.record import write_groups
from rollout.types import RolloutGroup
from tests.fakes import completion, group, step


def played() -> RolloutGroup:
    """From state 0 "go" leads to 1 and "stay" nowhere; the first rollout goes twice and wins."""
    said = completion("go", tokens=[5, 9], logprobs=[-0.25, -0.5])
    return group(
        (step("go", said=said), step("go", state="1", reward=8.0, said=said)),
        (step("stay"), step("go"), step("stay", state="1")),
        (step("</script><b>", valid=False, seen="<i>&</script>"),),
        task_id="cross",
        won=[True],
    )


def vectors() -> np.ndarray:
    """Hidden states of the six rows: state 0 along the first axis, state 1 along the second."""
    return np.eye(2, dtype=np.float32)[[0, 1, 0, 0, 1, 0]]


def recorded(run: Path, *updates: int, embeddings: bool = True, logprobs: bool = True) -> Path:
    """A run folder with so many updates of two groups each."""
    for update in updates:
        groups = [played(), played()]
        start = run / "rollouts" / f"update-{update:06d}"
        write_groups(start.with_name(f"{start.name}.jsonl.zst"), groups)
        tokens = [row.completion for one in groups for rollout in one.trajectories for row in rollout.steps]
        if embeddings:
            np.save(f"{start}.embeddings.npy", np.concatenate([vectors(), vectors()]))
        if logprobs:
            np.save(f"{start}.logprobs.npy", np.concatenate([one.logprobs for one in tokens]) + np.float32(0.125))
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return recorded(tmp_path / "run", 1, 3)
