"""The learner against Hugging Face's forward and torch's AdamW, row by row, without padding, packing or DeepSpeed."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import xxhash
from safetensors.torch import load_file
from torch import Tensor, distributed
from transformers import Qwen2Config, Qwen2ForCausalLM

from rollout.buckets import check_digests, unpack
from rollout.ray_actors import ActorDied
from rollout.ray_cluster import own_address
from rollout.transfer import HostBuffer, Route
from rollout.weights import PublishError
from tests.trainer.conftest import SHAPE
from tests.trainer.forked import fork_ranks
from tests.trainer.learner.reference import (
    CONFIG,
    LIMIT_S,
    Learners,
    Starter,
    assert_same_weights,
    fresh,
    off_policy,
    on_policy,
    published,
    slow_learn,
    slow_scores,
    weights_of,
)
from trainer.config.build import ModelError
from trainer.config.learner import LossConfig, PackingMode
from trainer.data.tokens import Targets, TokenBatch
from trainer.learner import driver
from trainer.learner.driver import Learner, OutOfMemory
from trainer.learner.first_ratio import RatioNotOne, check_first_ratio

pytestmark = pytest.mark.slow


LAYOUTS = [(1, 1), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3)]


@pytest.mark.parametrize(
    ("world_size", "zero_stage", "packing"),
    [*[(*layout, "padded") for layout in LAYOUTS], (1, 1, "packed"), (2, 1, "packed"), (2, 3, "packed")],
)
def test_scores_and_update_equal_the_row_by_row_reference(
    start: Starter,
    batch: TokenBatch,
    model_folder: Path,
    tmp_path: Path,
    world_size: int,
    zero_stage: int,
    packing: PackingMode,
) -> None:
    config = replace(CONFIG, world_size=world_size, zero_stage=zero_stage, packing=packing)
    learner = start(config)
    model = fresh(model_folder)
    expected = slow_scores(model, batch, config.temperature)
    scores = learner.score(batch, layer=-2)
    np.testing.assert_allclose(scores.logprobs, expected, atol=2e-5)
    np.testing.assert_allclose(scores.ref_logprobs, expected, atol=2e-5)
    with torch.no_grad():
        for row in range(batch.num_rows):
            ids = torch.from_numpy(batch.prompt(row).astype(np.int64))[None]
            state = model(input_ids=ids, output_hidden_states=True).hidden_states[-2][0, -1]
            np.testing.assert_allclose(scores.embedding[row], state.numpy(), atol=2e-5)

    targets = off_policy(batch, expected)
    report = learner.learn(batch, targets, seed=0)
    assert report.loss == pytest.approx(slow_learn(model, batch, targets, config), abs=1e-5)
    assert_same_weights(weights_of(learner, tmp_path), dict(model.named_parameters()), config.learning_rate)


@pytest.mark.parametrize(
    "loss",
    [
        LossConfig(ratio="sequence", aggregation="sequence", kl_coef=0.1, kl_estimator="k2"),
        LossConfig(dual_clip=3.0, clip_high=0.28, importance_cap=1.1, kl_coef=0.0),
    ],
)
def test_loss_options_reach_the_ranks(
    start: Starter, batch: TokenBatch, model_folder: Path, tmp_path: Path, loss: LossConfig
) -> None:
    config = replace(CONFIG, world_size=2, loss=loss)
    model = fresh(model_folder)
    targets = off_policy(batch, slow_scores(model, batch, config.temperature))
    learner = start(config)
    report = learner.learn(batch, targets, seed=0)
    assert report.loss == pytest.approx(slow_learn(model, batch, targets, config), abs=1e-5)
    assert_same_weights(weights_of(learner, tmp_path), dict(model.named_parameters()), config.learning_rate)


@pytest.mark.parametrize(("world_size", "zero_stage"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("kl_coef", [0.0, 0.1])
def test_the_engines_logprobs_as_old_ones_save_the_policys_pass_and_learn_the_same(
    start: Starter, batch: TokenBatch, tmp_path: Path, world_size: int, zero_stage: int, kl_coef: float
) -> None:
    loss = LossConfig(kl_coef=kl_coef, importance_cap=1e6)
    own = replace(CONFIG, world_size=world_size, zero_stage=zero_stage, loss=loss)
    usual, saving = start(own), start(replace(own, old_logprobs="engine"))
    expected, scores = usual.score(batch, layer=-2), saving.score(batch, layer=-2)
    assert (scores.logprobs, scores.entropy) == (None, None)
    np.testing.assert_allclose(scores.embedding, expected.embedding, atol=1e-6)
    bare = saving.score(batch)
    assert bare.embedding is None
    if kl_coef == 0:
        assert bare.ref_logprobs is None
    else:
        np.testing.assert_allclose(bare.ref_logprobs, expected.ref_logprobs, atol=1e-6)
    sampled = expected.logprobs + 0.01
    targets = replace(on_policy(batch, expected.logprobs), ref_logprobs=expected.ref_logprobs, rollout_logprobs=sampled)
    # The ratio against the engine is exp(-0.01) everywhere; the usual learner weighs by the same factor.
    first = usual.learn(batch, targets, seed=0)
    second = saving.learn(batch, replace(targets, old_logprobs=sampled), seed=0)
    assert second.loss == pytest.approx(first.loss, abs=1e-5)
    assert second.engine_mismatch == pytest.approx(first.engine_mismatch, abs=1e-5) == pytest.approx(0.01, abs=1e-4)
    assert_same_weights(weights_of(saving, tmp_path / "a"), weights_of(usual, tmp_path / "b"), own.learning_rate)


@pytest.mark.parametrize("optimizer_steps", [1, 3])
@pytest.mark.parametrize(("negative_weight", "uncredited"), [(1.0, 0.0), (0.0, -1.0)])
def test_rows_without_credit_are_counted_but_not_run(
    start: Starter, batch: TokenBatch, tmp_path: Path, optimizer_steps: int, negative_weight: float, uncredited: float
) -> None:
    """A KL term too weak to matter keeps every row in the passes; the weights are the same afterwards."""
    weights: list[dict[str, Tensor]] = []
    tokens: list[int] = []
    for name, kl_coef in (("skipped", 0.0), ("run", 1e-12)):
        loss = LossConfig(kl_coef=kl_coef, negative_weight=negative_weight)
        learner = start(replace(CONFIG, optimizer_steps=optimizer_steps, loss=loss))
        targets = off_policy(batch, learner.score(batch).logprobs)
        one_of_six = batch.trajectory == batch.trajectory[0]
        credit = np.where(one_of_six, np.abs(targets.advantage), uncredited)
        tokens.append(learner.learn(batch, replace(targets, advantage=credit), seed=0).tokens)
        weights.append(weights_of(learner, tmp_path / name))
    assert tokens[0] < 0.8 * tokens[1]
    assert_same_weights(weights[0], weights[1], CONFIG.learning_rate)


def test_a_row_whose_tokens_have_credits_that_cancel_out_is_run(start: Starter, batch: TokenBatch) -> None:
    learner = start(replace(CONFIG, loss=LossConfig(kl_coef=0.0)))
    targets = off_policy(batch, learner.score(batch).logprobs)
    of_tokens = np.where(np.arange(batch.num_response_tokens) % 2, 1.0, -1.0).astype(np.float32)
    whole = learner.learn(batch, replace(targets, advantage=np.ones_like(targets.advantage)), seed=0)
    credited = replace(targets, advantage=np.zeros_like(targets.advantage), token_advantage=of_tokens)
    assert learner.learn(batch, credited, seed=0).tokens == whole.tokens


def test_an_update_takes_a_step_for_so_many_rows(start: Starter, batch: TokenBatch, tmp_path: Path) -> None:
    weights: list[dict[str, Tensor]] = []
    rollouts = len(set(batch.trajectory))
    for steps, rows in ((2, None), (None, -(-batch.num_rows // 2)), (None, 1)):
        learner = start(replace(CONFIG, optimizer_steps=steps, rows_per_step=rows))
        targets = on_policy(batch, learner.score(batch).logprobs)
        targets = replace(targets, row_mask=np.ones(batch.num_rows, np.bool_))
        report = learner.learn(batch, targets, seed=0)
        assert report.optimizer_steps == (rollouts if rows == 1 else 2)
        weights.append(weights_of(learner, tmp_path / str(rows)))
    assert_same_weights(weights[1], weights[0], CONFIG.learning_rate)


def test_token_budget_and_row_order_change_nothing(start: Starter, batch: TokenBatch, tmp_path: Path) -> None:
    whole, cut = start(replace(CONFIG, token_budget=10_000)), start(replace(CONFIG, token_budget=1))
    order = np.random.default_rng(1).permutation(batch.num_rows)
    tokens = batch.response_index(order)
    scores, shuffled = whole.score(batch, layer=1), cut.score(batch.take(order), layer=1)
    np.testing.assert_allclose(shuffled.logprobs, scores.logprobs[tokens], atol=2e-5)
    np.testing.assert_allclose(shuffled.embedding, scores.embedding[order], atol=2e-5)
    assert shuffled.entropy == pytest.approx(scores.entropy, abs=1e-5)

    targets = off_policy(batch, scores.logprobs)
    reordered = Targets(
        advantage=targets.advantage[order],
        row_mask=targets.row_mask[order],
        old_logprobs=targets.old_logprobs[tokens],
        ref_logprobs=targets.ref_logprobs[tokens],
        rollout_logprobs=targets.rollout_logprobs[tokens],
        token_mask=targets.token_mask[tokens],
    )
    first, second = whole.learn(batch, targets, seed=0), cut.learn(batch.take(order), reordered, seed=0)
    assert second.padded_ratio == 1.0
    assert first.tokens == second.tokens < first.row_tokens
    for name in ("loss", "policy_loss", "kl", "clip_share", "ratio_max", "grad_norm"):
        assert getattr(second, name) == pytest.approx(getattr(first, name), abs=1e-4), name
    assert second.engine_mismatch == pytest.approx(first.engine_mismatch)
    assert_same_weights(weights_of(cut, tmp_path / "cut"), weights_of(whole, tmp_path / "whole"), CONFIG.learning_rate)


def test_publish_and_export_carry_the_same_weights(start: Starter, batch: TokenBatch, tmp_path: Path) -> None:
    learner = start(replace(CONFIG, world_size=2, zero_stage=3))
    learner.sft(batch)
    published(learner, tmp_path / "weights", 7)
    new = published(learner, tmp_path / "weights", 8)
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["weights-00000008.safetensors"]
    assert new.checksum == xxhash.xxh3_64(Path(new.path).read_bytes()).hexdigest()
    weights = load_file(new.path)
    learner.export(tmp_path / "exported")
    exported = fresh(tmp_path / "exported")
    assert set(weights) == {name for name, _ in exported.named_parameters()}
    for name, parameter in exported.named_parameters():
        assert torch.equal(parameter, weights[name]), name


@pytest.mark.parametrize(("world_size", "zero_stage"), [(1, 1), (2, 3)])
def test_weights_in_buckets_of_shared_memory_are_those_that_are_exported(
    start: Starter, batch: TokenBatch, tmp_path: Path, world_size: int, zero_stage: int
) -> None:
    learner = start(replace(CONFIG, world_size=world_size, zero_stage=zero_stage))
    learner.sft(batch)
    learner.route = Route(way="shm", folder=tmp_path, bucket_bytes=2**12)
    weights: dict[str, Tensor] = {}
    sizes: list[int] = []
    for bucket in learner.buckets(7, LIMIT_S):
        assert isinstance(bucket.handle, HostBuffer)
        buffer = torch.from_file(bucket.handle.path, shared=True, size=bucket.handle.num_bytes, dtype=torch.uint8)
        arrived = [(name, tensor.clone()) for name, tensor in unpack(buffer, bucket.tensors)]
        check_digests(arrived, bucket.digests)
        weights |= arrived
        sizes.append(sum(spec.num_bytes for spec in bucket.tensors))
    learner.export(tmp_path / "exported")
    exported = dict(fresh(tmp_path / "exported").named_parameters())
    assert weights.keys() == exported.keys()
    assert all(torch.equal(weights[name], parameter) for name, parameter in exported.items())
    assert max(sizes) > 2**12 > min(sizes)  # the embedding is larger than a bucket
    assert not (tmp_path / "bucket").exists()


@pytest.mark.parametrize("optimizer_steps", [1, 3])
def test_the_first_ratio_of_an_update_is_1_and_later_ones_do_not_count(
    start: Starter, batch: TokenBatch, optimizer_steps: int
) -> None:
    learner = start(replace(CONFIG, world_size=2, optimizer_steps=optimizer_steps))
    report = learner.learn(batch, on_policy(batch, learner.score(batch).logprobs), seed=0)
    assert report.first_ratio_error < 1e-5
    check_first_ratio(report.first_ratio_error, "float32")


def test_the_first_ratio_tells_of_another_temperature(start: Starter, batch: TokenBatch) -> None:
    warmer, learner = start(replace(CONFIG, temperature=0.8)).score(batch).logprobs, start()
    difference = np.abs(learner.score(batch).logprobs - warmer).mean()
    report = learner.learn(batch, on_policy(batch, warmer), seed=0)
    assert report.first_ratio_error == pytest.approx(float(difference), rel=1e-3)
    with pytest.raises(RatioNotOne):
        check_first_ratio(report.first_ratio_error, "float32")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_policy_whose_config_asks_for_dropout_learns_what_was_scored(
    start: Starter, batch: TokenBatch, tmp_path: Path, checkpointing: bool
) -> None:
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**SHAPE, attention_dropout=0.5)).save_pretrained(tmp_path)
    learner = start(replace(CONFIG, gradient_checkpointing=checkpointing), tmp_path)
    report = learner.learn(batch, on_policy(batch, learner.score(batch).logprobs), seed=0)
    assert report.first_ratio_error < 1e-5


def test_rounding_of_bfloat16_passes_as_a_first_ratio_of_1(start: Starter, batch: TokenBatch) -> None:
    learner = start(replace(CONFIG, dtype="bfloat16", world_size=2, optimizer_steps=3))
    report = learner.learn(batch, on_policy(batch, learner.score(batch).logprobs), seed=0)
    check_first_ratio(report.first_ratio_error, "bfloat16")


def test_a_layer_that_the_model_does_not_have_is_refused_at_the_start(start: Starter, model_folder: Path) -> None:
    with pytest.raises(ModelError, match="layer 99 does not exist: this model has hidden states -4 to 3"):
        start(replace(CONFIG, world_size=2), model_folder, layer=99)


def test_the_policy_goes_where_the_advantages_point(start: Starter, batch: TokenBatch) -> None:
    learner = start(replace(CONFIG, loss=LossConfig(kl_coef=0.0)))
    every_row = np.ones(batch.num_rows, dtype=np.bool_)
    means = [learner.score(batch).logprobs.mean()]
    for sign in (1.0, -1.0):
        old = learner.score(batch).logprobs
        learner.learn(batch, Targets(advantage=sign * every_row, row_mask=every_row, old_logprobs=old), seed=0)
        means.append(learner.score(batch).logprobs.mean())
    assert means[1] > means[0]
    assert means[2] < means[1]


def test_sft_memorises_the_responses(start: Starter, batch: TokenBatch) -> None:
    learner = start(replace(CONFIG, loss=LossConfig(kl_coef=0.0), temperature=1.0))
    before = learner.score(batch)
    losses = [learner.sft(batch, optimizer_steps=2, seed=seed).loss for seed in range(15)]
    assert losses[-1] < 0.5 * losses[0]
    assert learner.score(batch).logprobs.mean() > before.logprobs.mean()


def test_sft_tells_its_steps_as_they_are_taken_and_their_calls_change_no_number(
    start: Starter, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, loss=LossConfig(kl_coef=0.0))
    whole = start(config).sft(batch, optimizer_steps=3)
    monkeypatch.setattr(driver, "STEPS_A_CALL", 2)
    told = list[int]()
    assert start(config).sft(batch, optimizer_steps=3, on_steps=told.append) == whole
    assert told == [2, 1]


def gradient_of(learner: Learner) -> Tensor:
    """The gradient of the last optimizer step, flat, in a fixed order of the parameters. float32 [P]"""
    gradient: dict[str, Tensor] = learner._call("gradient")[0]
    return torch.cat([gradient[name].flatten() for name in sorted(gradient)])


def bfloat16_gradient(start: Starter, batch: TokenBatch, **changes: Any) -> Tensor:
    learner = start(replace(CONFIG, dtype="bfloat16", grad_clip=1e9, **changes))
    learner.learn(batch, off_policy(batch, np.full(batch.num_response_tokens, -4.0, dtype=np.float32)), seed=0)
    return gradient_of(learner)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.fixture(scope="module")
def bfloat16_alone(model_folder: Path, dialogue: Callable[..., TokenBatch]) -> Tensor:
    """The gradient of one rank whose micro-batches are single chains."""
    with pytest.MonkeyPatch.context() as patch, closing(Learners(patch, model_folder)) as learners:
        return bfloat16_gradient(learners.watched, dialogue(seed=3, trajectories=6), token_budget=1)


@pytest.mark.parametrize(("world_size", "zero_stage"), [(1, 2), (1, 3), (2, 1), (2, 2), (2, 3)])
def test_ranks_and_zero_stages_add_bfloat16_gradients_up_in_float32(
    watched: Starter, batch: TokenBatch, bfloat16_alone: Tensor, world_size: int, zero_stage: int
) -> None:
    """Each chain is a micro-batch of its own, so that every layout adds up the same bfloat16 gradients.

    Sums in float32 differ in their order alone. A sum that is rounded to bfloat16 once is 1e-3 away.
    """
    ours = bfloat16_gradient(watched, batch, token_budget=1, world_size=world_size, zero_stage=zero_stage)
    assert relative_error(ours, bfloat16_alone) < 1e-6


def test_packing_moves_a_bfloat16_gradient_by_its_rounding_alone(
    watched: Starter, batch: TokenBatch, bfloat16_alone: Tensor
) -> None:
    assert relative_error(bfloat16_gradient(watched, batch, token_budget=10_000), bfloat16_alone) < 0.02


@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_bfloat16_follows_float32(
    watched: Starter, batch: TokenBatch, model_folder: Path, tmp_path: Path, zero_stage: int
) -> None:
    config = replace(CONFIG, dtype="bfloat16", zero_stage=zero_stage, world_size=2, grad_clip=1e9)
    model = fresh(model_folder)
    expected = slow_scores(model, batch, config.temperature)
    learner = watched(config)
    assert np.abs(learner.score(batch).logprobs - expected).mean() < 0.1
    report = learner.learn(batch, off_policy(batch, expected), seed=0)
    assert report.loss == pytest.approx(slow_learn(model, batch, off_policy(batch, expected), config), abs=0.05)
    assert all(tensor.dtype == torch.bfloat16 for tensor in weights_of(learner, tmp_path).values())
    theirs = torch.cat([cast(Tensor, one.grad).flatten() for _, one in sorted(model.named_parameters())])
    # The forward pass of this random model in bfloat16 is that far off: 0.337 at every stage.
    assert relative_error(gradient_of(learner), theirs) < 0.4


def test_ranks_meet_at_the_address_that_other_nodes_know(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's own name leads many machines to themselves."""
    fork_ranks(monkeypatch)
    learner = Learner.reserve(replace(CONFIG, world_size=2), model_folder)
    host, port = learner._call("address")[0]  # pyright: ignore[reportPrivateUsage]
    learner.close()
    assert host == own_address()
    assert port > 0


def test_a_dead_rank_is_named_and_ends_the_learner(start: Starter, batch: TokenBatch) -> None:
    learner = start(replace(CONFIG, world_size=2))
    learner.ranks[1].kill()
    with pytest.raises(ActorDied, match="learner rank 1 died"):
        learner.score(batch)
    with pytest.raises(ActorDied, match="was closed, or ended after an error"):
        learner.score(batch)


def test_targets_the_loss_cannot_use_are_refused_and_leave_the_learner_alive(start: Starter, batch: TokenBatch) -> None:
    learner = start()
    targets = off_policy(batch, np.zeros(batch.num_response_tokens, dtype=np.float32))
    with pytest.raises(ValueError, match="this loss uses ref_logprobs"):
        learner.learn(batch, replace(targets, ref_logprobs=None), seed=0)
    with pytest.raises(ValueError, match="nothing to learn from"):
        learner.learn(batch, replace(targets, row_mask=np.zeros(batch.num_rows, dtype=np.bool_)), seed=0)
    assert np.isfinite(learner.score(batch).logprobs).all()


def test_an_error_inside_a_rank_is_raised_here_and_ends_the_learner(start: Starter, batch: TokenBatch) -> None:
    learner = start(replace(CONFIG, world_size=2))
    with pytest.raises(ValueError, match="layer 99 does not exist: this model has hidden states -4 to 3"):
        learner.score(batch, layer=99)
    with pytest.raises(ActorDied, match="was closed, or ended after an error"):
        learner.score(batch)


def test_weights_that_overflow_stop_the_run(start: Starter, batch: TokenBatch, tmp_path: Path) -> None:
    learner = start(replace(CONFIG, learning_rate=1e30, loss=LossConfig(kl_coef=0.0)))
    with pytest.raises(FloatingPointError, match=r"in a row .*: lower learner.learning_rate$"):  # noqa: PT012 at one of the steps
        for _ in range(4):
            learner.sft(batch)


def test_steps_without_a_finite_gradient_end_a_warm_start_before_its_last_step(
    start: Starter, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = start(replace(CONFIG, learning_rate=1e30, max_skipped_steps=1, loss=LossConfig(kl_coef=0.0)))
    monkeypatch.setattr(driver, "STEPS_A_CALL", 1)
    told = list[int]()
    with pytest.raises(FloatingPointError, match="in 1 optimizer steps in a row"):
        learner.sft(batch, optimizer_steps=3, on_steps=told.append)
    assert told == [1]


def test_weights_that_find_no_room_are_a_failed_publish_in_one_line(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("no folder")
    with pytest.raises(PublishError, match=r"publish of version 7: .*/full cannot take the weights \(.*\): free space"):
        published(start(), tmp_path / "full", 7)


def test_a_rank_without_memory_names_the_settings_that_save_some(
    batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Rank:
        """Has a small GPU."""

        def submit(self, *_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        def kill(self) -> None:
            pass

    monkeypatch.setattr("trainer.learner.driver.share", lambda value: value)
    learner = Learner(CONFIG, [Rank()])  # pyright: ignore[reportArgumentType]
    with pytest.raises(OutOfMemory, match=r"during score \(CUDA out of memory.*lower learner\.token_budget"):
        learner.score(batch)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), "a learner rank lost its GPU during score"),
        (
            distributed.DistBackendError("NCCL error: remote process exited"),
            "a learner rank lost touch with the others",
        ),
    ],
)
def test_a_rank_whose_gpu_or_peers_are_gone_is_lost_as_a_dead_one_is(
    batch: TokenBatch, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    """So that the run goes on from its checkpoint."""

    def submit(*_: object) -> None:
        raise error

    monkeypatch.setattr("trainer.learner.driver.share", lambda value: value)
    learner = Learner(CONFIG, [SimpleNamespace(submit=submit, kill=lambda: None)])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ActorDied, match=line):
        learner.score(batch)
