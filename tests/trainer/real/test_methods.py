"""Methods that ask for more than a run's usual parts, on the real stack: a copy of the policy, retries."""

import shutil
from pathlib import Path

import pytest

from tests.trainer.real.conftest import Stack, unclocked

pytestmark = pytest.mark.slow


def test_a_copy_of_the_policy_learns_beside_it_and_is_resumed_exactly(stack: Stack, tmp_path: Path) -> None:
    words = ("estimator=istar", "scorer=implicit", "scorer.learning_rate=1e-3", "validation.every=null")
    whole = stack.train(tmp_path / "whole", *words, "updates=2")
    assert [row["scorer/reward_abs_mean"] > 0.0 for row in whole] == [True, True]
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / "checkpoints" / "update-000002")
    (tmp_path / "part" / "checkpoints" / "latest").write_text("update-000001")
    resumed = stack.train(tmp_path / "part", *words, "updates=2", "resume=auto")
    assert unclocked(resumed) == unclocked(whole)


@pytest.mark.parametrize("mode", ["retry", "intervene"])
def test_a_failure_is_played_again_from_its_pivot_and_learned_from(stack: Stack, tmp_path: Path, mode: str) -> None:
    (row,) = stack.train(
        tmp_path / "run", "estimator=grpo", f"revise.mode={mode}", "updates=1", "validation.every=null"
    )
    assert row["revise/rollouts"] > 0
    assert row["revise/revisions"] >= row["revise/rollouts"]
    assert row["revise/response_tokens"] > 0
    assert row["learn/grad_norm"] > 0
