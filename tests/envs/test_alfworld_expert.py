"""The expert on the official games."""

import tarfile
from pathlib import Path

import pytest

from envs.alfworld import ALFWorld


def failures(env: ALFWorld, split: str) -> list[str]:
    """Tasks of a split that the expert does not solve in 50 steps."""
    lost: list[str] = []
    for task in env.tasks(split):
        now = env.reset(task)
        for action in env.expert():
            assert action in (now.admissible or ()), (task, action)
            now = env.step(action)
        if not now.won:
            lost.append(task)
    return lost


@pytest.mark.parametrize("guide", ["search", "plan"])
@pytest.mark.parametrize("split", ["valid_seen", "valid_unseen"])
def test_both_experts_solve_every_validation_game(alfworld_data: Path, split: str, guide: str) -> None:
    assert failures(ALFWorld(data=alfworld_data, expert=guide), split) == []


@pytest.mark.slow
def test_the_expert_solves_every_training_game(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "alfworld" / "json_2.1.1_train.tar.xz", "r:xz") as archive:
        archive.extractall(tmp_path, filter="data")
    env = ALFWorld(data=tmp_path)
    assert len(env.tasks("train")) == 3553
    assert failures(env, "train") == []


def test_who_has_to_look_does_not_take_what_was_never_shown(alfworld_data: Path) -> None:
    env = ALFWorld(data=alfworld_data)
    for task in env.tasks("valid_unseen"):
        shown = env.reset(task).observation
        for action in env.expert():
            if action.startswith("take "):
                thing = action.removeprefix("take ").partition(" from ")[0]
                assert f"a {thing}" in shown, (task, action)
            shown += env.step(action).observation
