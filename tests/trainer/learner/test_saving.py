"""A learner saves beside its next step, says what it could not write, and goes on: exactly, and with other ranks."""

import resource
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from rollout.types import Precision
from tests.trainer.forked import ForkedActor
from tests.trainer.learner.reference import (
    CONFIG,
    Learners,
    Starter,
    assert_same_weights,
    fresh,
    off_policy,
    resumed_exactly,
    save,
    slow_scores,
    weights_of,
)
from trainer import checksums
from trainer.config.build import ConfigError
from trainer.data.tokens import TokenBatch
from trainer.learner.driver import Learner

pytestmark = pytest.mark.slow


def told(learner: Learner, method: str) -> Any:
    return learner._call(method)[0]  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_an_export_beside_a_checkpoint_has_the_weights_of_its_start(
    learners: Learners, batch: TokenBatch, tmp_path: Path, zero_stage: int
) -> None:
    learner = learners.start(replace(CONFIG, world_size=2, zero_stage=zero_stage))
    learner.sft(batch)
    weights = weights_of(learner, tmp_path)
    assert learner.begin_save(tmp_path / "state", export=True) == 2
    learner.sft(batch, seed=1)
    assert learner.save_fault(wait=True) is None
    for name, parameter in fresh(tmp_path / "state" / "model").named_parameters():
        assert torch.equal(parameter, weights[name]), name
    assert len(checksums.parts(tmp_path / "state")) == 2
    checksums.join(tmp_path / "state")
    assert checksums.damage(tmp_path / "state") is None


def test_a_rank_without_room_on_its_disk_says_so_and_stays(
    learners: Learners, batch: TokenBatch, tmp_path: Path
) -> None:
    learner = learners.start()
    rank = cast(ForkedActor, learner.ranks[0])
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(rank.pid, resource.RLIMIT_FSIZE, (60_000, hard))  # bytes of a file, fewer than the weights have
    learner.begin_save(tmp_path / "state")
    learner.sft(batch)
    assert "File too large" in (learner.save_fault(wait=True) or "")
    assert checksums.parts(tmp_path / "state") == []
    resource.prlimit(rank.pid, resource.RLIMIT_FSIZE, (hard, hard))
    save(learner, tmp_path / "again")


@pytest.mark.parametrize(
    ("dtype", "zero_stage", "before", "after"),
    [
        ("float32", 1, 2, 1),
        ("float32", 1, 2, 3),
        ("float32", 3, 2, 1),
        ("float32", 3, 2, 3),
        ("bfloat16", 1, 2, 1),
        ("bfloat16", 2, 1, 2),
        ("bfloat16", 3, 2, 3),
        ("float32", 0, 1, 2),
    ],
)
def test_a_learner_goes_on_from_a_checkpoint_of_another_number_of_ranks(
    learners: Learners,
    batch: TokenBatch,
    tmp_path: Path,
    dtype: Precision,
    zero_stage: int,
    before: int,
    after: int,
) -> None:
    config = replace(CONFIG, dtype=dtype, zero_stage=zero_stage, weight_decay=0.1, warmup_steps=2)
    targets = off_policy(batch, np.full(batch.num_response_tokens, -4.0, dtype=np.float32))
    first = learners.watched(replace(config, world_size=before))
    first.learn(batch, targets, seed=0)
    save(first, tmp_path / "state")
    moments = told(first, "moments") if zero_stage else {}
    settings = told(first, "optimizer_settings") if zero_stage else None
    scores = first.score(batch).logprobs
    expected = first.learn(batch, targets, seed=1)
    weights = weights_of(first, tmp_path / "first")
    later = told(first, "optimizer_settings") if zero_stage else None
    first.close()

    resumed = learners.watched(replace(config, world_size=after))
    resumed.load(tmp_path / "state")  # one rank converts it, and the others wait
    assert told(resumed, "patience_s") == config.timeout_s
    for name, states in (told(resumed, "moments") if zero_stage else {}).items():
        assert all(map(torch.equal, states, moments[name])), name
    assert settings is None or told(resumed, "optimizer_settings") == settings
    assert resumed.score(batch).logprobs == pytest.approx(scores, abs=1e-5)
    report = resumed.learn(batch, targets, seed=1)
    assert later is None or told(resumed, "optimizer_settings") == later
    assert report.learning_rate == expected.learning_rate
    rounding = 1e-4 if dtype == "float32" else 1e-2  # gradients of other ranks are summed in another order
    for name in ("loss", "kl", "grad_norm", "first_ratio_error"):
        assert getattr(report, name) == pytest.approx(getattr(expected, name), rel=rounding, abs=1e-4), name
    tolerance = config.learning_rate if dtype == "float32" else 100 * config.learning_rate
    assert_same_weights(weights_of(resumed, tmp_path / "second"), weights, tolerance)
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(("dtype", "zero_stage"), [("float32", 1), ("bfloat16", 1), ("bfloat16", 2), ("bfloat16", 3)])
def test_a_resumed_learner_continues_exactly_as_an_uninterrupted_one(
    start: Starter, batch: TokenBatch, tmp_path: Path, dtype: Precision, zero_stage: int
) -> None:
    layout = replace(CONFIG, world_size=2, dtype=dtype, zero_stage=zero_stage)
    config = replace(layout, warmup_steps=2, decay_steps=10, optimizer_steps=2)
    expected = resumed_exactly(start, config, batch, tmp_path)
    # 4 optimizer steps at 1/3, 2/3, 1 and then a tenth less of the full rate.
    assert expected.learning_rate == pytest.approx(0.01 * 0.9)


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3)])
def test_a_learner_in_the_processes_of_another_one_is_as_one_that_starts(
    start: Starter, batch: TokenBatch, model_folder: Path, tmp_path: Path, before: int, after: int
) -> None:
    """Weights, reference, optimizer and schedule are fresh, also where the ZeRO stage is another one."""
    old, config = (replace(CONFIG, world_size=2, zero_stage=stage) for stage in (before, after))
    used, fresh_one = start(old), start(config)
    targets = off_policy(batch, slow_scores(fresh(model_folder), batch, config.temperature))
    for seed in range(2):
        used.learn(batch, targets, seed=seed)
    processes = [rank.pid for rank in used.ranks]
    renewed = used.renewed(config, model_folder)
    renewed.join()
    assert [rank.pid for rank in renewed.ranks] == processes
    for learner in (renewed, fresh_one):
        learner.learn(batch, targets, seed=0)
        learner.learn(batch, targets, seed=1)
    (tmp_path / "fresh").mkdir()
    expected = weights_of(fresh_one, tmp_path / "fresh")
    torch.testing.assert_close(weights_of(renewed, tmp_path), expected, rtol=0.0, atol=0.0)


def test_a_checkpoint_of_another_layout_is_refused(start: Starter, tmp_path: Path) -> None:
    save(start(), tmp_path)
    with pytest.raises(ConfigError, match=r"'zero_stage': 1.*this learner has.*'zero_stage': 2"):
        start(replace(CONFIG, zero_stage=2)).load(tmp_path)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_fork_learns_by_its_own_rate_from_the_moments_of_the_checkpoint(
    start: Starter, batch: TokenBatch, tmp_path: Path, stage: int
) -> None:
    targets = off_policy(batch, np.full(batch.num_response_tokens, -4.0, dtype=np.float32))
    config = replace(CONFIG, zero_stage=stage, weight_decay=0.0, warmup_steps=1)
    first = start(config)
    first.learn(batch, targets, seed=0)
    save(first, tmp_path / "state")
    before = weights_of(first, tmp_path / "before")
    first.close()
    moved: list[Tensor] = []
    for number, rate in enumerate((0.01, 0.001)):
        learner = start(replace(config, learning_rate=rate))
        learner.load(tmp_path / "state")
        assert learner.learn(batch, targets, seed=1).learning_rate == rate
        after = weights_of(learner, tmp_path / str(number))
        moved.append(torch.cat([(after[name] - before[name]).flatten() for name in before]))
    assert torch.linalg.vector_norm(moved[0] / 10 - moved[1]) < 1e-3 * torch.linalg.vector_norm(moved[1])


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_fork_clips_gradients_by_its_own_bound(start: Starter, batch: TokenBatch, tmp_path: Path, stage: int) -> None:
    targets = off_policy(batch, np.full(batch.num_response_tokens, -4.0, dtype=np.float32))
    config = replace(CONFIG, zero_stage=stage)
    first = start(config)
    save(first, tmp_path / "state")
    first.close()
    changed: list[Tensor] = []
    for bound in (config.grad_clip, config.grad_clip / 1e8):  # the second is far below Adam's epsilon
        learner = start(replace(config, grad_clip=bound))
        learner.load(tmp_path / "state")
        before = weights_of(learner, tmp_path / f"before {bound}")
        learner.learn(batch, targets, seed=0)
        after = weights_of(learner, tmp_path / f"after {bound}")
        changed.append(torch.cat([(after[name] - before[name]).flatten() for name in before]))
        learner.close()
    assert torch.linalg.vector_norm(changed[1]) < 0.5 * torch.linalg.vector_norm(changed[0])
