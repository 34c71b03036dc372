"""vLLM and the learner on the same text; and whole runs of `stepcredit train`, resumed and repeated."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from rollout.engines import EngineConfig, Engines
from rollout.record import read_groups
from trainer.config.learner import LearnerConfig
from trainer.config.tiny import TinySpec
from trainer.data.codec import ChatCodec
from trainer.data.tokens import TokenBatch
from trainer.learner.driver import Learner
from trainer.setup.models import build_tiny, convert_smollm2

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TEXT = "Crafting commands:\ncraft 1 copper rod using 2 copper\n\nGoal: craft copper rod."
TOLERANCE = 1e-3  # nats, float32 on both sides; one optimizer step below moves log-probs by a hundred times as much
SMALL_RUN = (
    *("model=tiny", "estimator=gigpo", "cluster=cpu", "seed=1", "groups_per_update=2", "group_size=2"),
    *(
        "learner.optimizer_steps=1",
        "validation.tasks=2",
        "validation.every=1",
        "checkpoint.every=1",
        "env.options.max_steps=3",
    ),
    *("log.wandb=disabled", "log.tensorboard=false"),
)


def folder_of(source: str, cache: Path) -> Path:
    return build_tiny([TEXT], TinySpec(), cache) if source == "tiny" else convert_smollm2(ROOT / ".cache" / "models")


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("source", ["tiny", "smollm2_135m"])
def test_engine_and_learner_give_a_text_the_same_logprobs_before_and_after_an_update(
    source: str, tmp_path: Path
) -> None:
    folder = folder_of(source, tmp_path)
    ids = ChatCodec(folder).encode_response(TEXT)
    batch = TokenBatch.from_rows([ids[:5]], [ids[5:]], trajectory=[0], time=[0])
    with (
        closing(Engines(folder, EngineConfig(), context=256)) as engines,
        closing(Learner.start(LearnerConfig(learning_rate=1e-3, threads=2), folder)) as learner,
    ):

        def both() -> tuple[np.ndarray, np.ndarray]:
            served = engines.remotes[0].call("prompt_logprobs", ids.tolist())
            return np.array(served[4:]), learner.score(batch).logprobs

        served_before, scored_before = both()
        np.testing.assert_allclose(served_before, scored_before, atol=TOLERANCE)
        learner.sft(batch)
        engines.publish(Path(learner.publish(tmp_path / "weights", 1).path), 1)
        served, scored = both()
        np.testing.assert_allclose(served, scored, atol=TOLERANCE)
        assert np.abs(scored - scored_before).max() > 100 * TOLERANCE


def train(output: Path, *words: str, timed: bool = False) -> list[dict[str, float]]:
    """The metrics of a real run; timed: with what a clock measured."""
    command = [sys.executable, "-c", "from trainer.commands.main import main; main()", "train", *SMALL_RUN]
    subprocess.run(
        [*command, f"output={output}", *words], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True
    )
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    clocked = () if timed else ("seconds/", "share/")
    return [{key: value for key, value in row.items() if not key.startswith(clocked)} for row in rows]


def test_a_deterministic_run_gives_the_same_numbers_twice_and_a_resumed_one_gives_them_too(tmp_path: Path) -> None:
    once = train(tmp_path / "once", "deterministic=true", "updates=2")
    assert train(tmp_path / "twice", "deterministic=true", "updates=2") == once
    assert [row["update"] for row in once] == [0, 1, 2]
    train(tmp_path / "cut", "deterministic=true", "updates=1")
    assert train(tmp_path / "cut", "deterministic=true", "updates=2", "resume=auto") == once


def test_a_policy_revises_its_failures_on_the_real_stack(tmp_path: Path) -> None:
    # A policy that was taught nothing fails; its revisions are asked for, played, paid for, written down, and fail too.
    words = ("estimator=ibpo", "updates=1", "record=rollouts", "env.options.distractors=0")
    _, numbers = train(tmp_path / "run", *words, timed=True)
    groups = list(read_groups(tmp_path / "run" / "rollouts" / "update-000001.jsonl.zst"))
    failed = [(one, group) for group in groups for one in group.trajectories if not one.success]
    assert numbers["revise/rollouts"] == numbers["revise/revisions"] == len(failed) > 0  # one sibling each
    revisions = [one for group in groups for one in group.revisions or ()]
    assert len(revisions) == numbers["revise/revisions"]
    assert all(1 <= len(one.trajectory.steps) <= 3 for one in revisions)
    assert numbers["revise/response_tokens"] == sum(one.trajectory.tokens for one in revisions) > 0
    assert numbers["revise/succeeded"] == sum(one.trajectory.success for one in revisions)
    assert numbers["seconds/revise"] > 0.0
    for one, group in failed:
        (mine,) = (found for found in group.revisions or () if found.trajectory.sibling == one.sibling)
        task, told = one.steps[0].observation, mine.trajectory.steps[0].observation
        assert told.startswith(f"{task}\n\nFailed attempt:\n" + "\n".join(step.action for step in one.steps))
