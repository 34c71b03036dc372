"""Methods that ask for more than a run's usual parts, on the real stack: a copy of the policy, retries, sub-goals."""

import shutil
from pathlib import Path

import pytest

from envs.prompts.subgoals import ASK
from rollout.record import read_groups
from tests.trainer.real.conftest import Stack, unclocked
from trainer.data.codec import ChatCodec

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


def test_sub_goals_are_asked_for_and_a_critic_of_two_levels_is_learned(stack: Stack, tmp_path: Path) -> None:
    """This policy writes no sub-goals: each rollout is one segment, and what counts is its penalties."""
    words = ("estimator=hiper", "env.style=subgoals", "env.history=0", "+estimator.invalid_penalty=0.1")
    without = ("~estimator.episode_stats", "~estimator.norm")  # of the experiment
    (row,) = stack.train(tmp_path / "run", *words, *without, "updates=1", "validation.every=null")
    codec = ChatCodec(stack.policy)
    groups = list(read_groups(tmp_path / "run" / "rollouts" / "update-000001.jsonl.zst"))
    rollouts = [rollout for group in groups for rollout in group.trajectories]
    prompts = [codec.decode(step.completion.prompt_ids.tolist()) for rollout in rollouts for step in rollout.steps]
    assert [ASK in prompt for prompt in prompts] == [True] * len(prompts)
    assert row["credit/segment_turns"] == pytest.approx(len(prompts) / len(rollouts))
    assert row["critic/return"] < 0.0
    assert row["critic/loss"] > 0.0
    assert row["learn/grad_norm"] > 0.0
