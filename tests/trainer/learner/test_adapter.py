"""LoRA against a merged copy of the model and torch's autograd; its learner against the row-by-row reference."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from rollout.types import Precision
from tests.trainer.learner.reference import (
    CONFIG,
    Starter,
    assert_same_weights,
    fresh,
    off_policy,
    resumed_exactly,
    save,
    slow_learn,
    slow_scores,
    weights_of,
)
from tests.trainer.learner.test_policy import INPUT_IDS, PREDICT_AT, TARGETS, build
from trainer.config.build import ConfigError, ModelError
from trainer.config.learner import LoraConfig, TargetModules
from trainer.data.tokens import TokenBatch
from trainer.learner.adapter import Adapter, keep_trained
from trainer.learner.head import ChunkedLogprobs
from trainer.learner.policy import PolicyModule, PolicyOutput

LORA = LoraConfig(rank=4, alpha=8)
ADAPTED = replace(CONFIG, lora=LORA)


@pytest.fixture(params=["tied_qwen", "untied_llama"])
def base(request: pytest.FixtureRequest) -> PreTrainedModel:
    return deepcopy(request.getfixturevalue(request.param))


def trained(model: PreTrainedModel, targets: TargetModules = "all-linear") -> Adapter:
    """An adapter whose B is not 0 any more."""
    adapter = Adapter(model, replace(LORA, target_modules=targets))
    torch.manual_seed(5)
    for matrix in adapter.matrices.values():
        matrix.data.normal_(std=0.3)
    return adapter


def asked(model: PreTrainedModel) -> PolicyOutput:
    """What the policy says about two lines of random tokens, with the hidden states of an inner layer."""
    torch.manual_seed(1)
    ids = torch.randint(1, 61, (2, 9))
    cells = torch.arange(18).view(2, 9)[:, :-1].flatten()
    return PolicyModule(model)(ids, cells, ids[:, 1:].flatten(), layer=-2, embed_at=cells)


def merged_copy(model: PreTrainedModel, adapter: Adapter, base: PreTrainedModel) -> PreTrainedModel:
    copy = deepcopy(base)
    copy.load_state_dict(
        {name: adapter.merged(name, one.detach()) for name, one in base.named_parameters()}, strict=False
    )
    return copy


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "down_proj")])
def test_a_policy_with_an_adapter_says_what_its_merged_copy_says(base: PreTrainedModel, targets: TargetModules) -> None:
    plain = deepcopy(base)
    adapter = trained(base, targets)
    ours, theirs, before = asked(base), asked(merged_copy(base, adapter, plain)), asked(plain)
    torch.testing.assert_close(ours.logprobs, theirs.logprobs, atol=2e-5, rtol=0)
    torch.testing.assert_close(ours.entropy, theirs.entropy, atol=2e-5, rtol=0)
    assert ours.hidden is not None
    assert theirs.hidden is not None
    assert (ours.hidden - theirs.hidden).abs().max() < 2e-5 * theirs.hidden.abs().max()
    assert (ours.logprobs - before.logprobs).abs().max() > 0.1


def test_an_adapter_starts_as_the_base_and_is_the_base_bit_for_bit_when_it_is_off(base: PreTrainedModel) -> None:
    plain = asked(base)
    Adapter(deepcopy(base), LORA)
    adapter = trained(base)
    off = adapter.without(asked)(base)
    assert off.last is plain.last is None  # no critic
    for ours, theirs in zip(off[:3], plain[:3], strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(asked(base).logprobs, plain.logprobs)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_blocks_with_an_adapter_give_the_same_logprobs_and_gradients(checkpointing: bool) -> None:
    model = build("Qwen2")
    adapter = trained(model)
    policy = PolicyModule(model, gradient_checkpointing=checkpointing).train()

    def outcome() -> list[Tensor]:
        on, off = (run(INPUT_IDS, PREDICT_AT, TARGETS) for run in (policy, adapter.without(policy)))
        return [on.logprobs, off.logprobs, *torch.autograd.grad(on.logprobs.sum(), [*adapter.matrices.values()])]

    eager = outcome()
    policy.compile_blocks("aot_eager")
    for ours, theirs in zip(outcome(), eager, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=5e-5)


def test_an_adapter_at_its_start_changes_nothing(base: PreTrainedModel) -> None:
    plain = asked(base)
    Adapter(base, LORA)
    assert torch.equal(asked(base).logprobs, plain.logprobs)


def test_every_rank_draws_the_same_matrices_and_leaves_the_random_numbers_alone(tied_qwen: PreTrainedModel) -> None:
    torch.manual_seed(1)
    first = Adapter(deepcopy(tied_qwen), LORA).matrices
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))
    second = Adapter(deepcopy(tied_qwen), LORA).matrices
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_gradients_of_an_adapter_are_those_that_follow_from_the_weights_gradient(base: PreTrainedModel) -> None:
    """With W' = W + s B A and G = dL/dW': dL/dB = s G A^T and dL/dA = s B^T G. The frozen weights have none."""
    base = base.double()
    plain = deepcopy(base)
    adapter = trained(base)
    copy = merged_copy(base, adapter, plain)
    for model in (base, copy):
        output = asked(model)
        (output.logprobs.square().sum() + output.entropy.sum()).backward()
    gradient = {name: one.grad for name, one in copy.named_parameters()}
    scale = LORA.alpha / 4
    adapted = [name for name in gradient if adapter.matrices_of(name)]
    assert len(adapted) == 3 * 7
    for name in adapted:
        a, b = adapter.matrices_of(name)
        torch.testing.assert_close(b.grad, scale * gradient[name] @ a.detach().T)
        torch.testing.assert_close(a.grad, scale * b.detach().T @ gradient[name])
    ours = {id(one) for one in adapter.matrices.values()}
    assert all(one.grad is None for one in base.parameters() if id(one) not in ours)


def test_merging_makes_new_tensors_and_leaves_the_base_as_it_was(tied_qwen: PreTrainedModel) -> None:
    model, plain = deepcopy(tied_qwen), dict(tied_qwen.named_parameters())
    own = dict(model.named_parameters())
    adapter = trained(model)
    merged = {name: adapter.merged(name, one.detach()) for name, one in own.items()}
    assert all(torch.equal(own[name], plain[name]) for name in plain)
    changed = {name for name in plain if not torch.equal(merged[name], plain[name])}
    assert changed == {name for name in plain if name.endswith("_proj.weight")}


@pytest.mark.parametrize(("targets", "wrong"), [(("q_proj", "w_proj"), "w_proj"), (("lm_head",), "lm_head")])
def test_a_target_that_is_no_linear_layer_below_the_head_is_refused_with_those_that_are(
    base: PreTrainedModel, targets: TargetModules, wrong: str
) -> None:
    with pytest.raises(ModelError) as refusal:
        Adapter(base, replace(LORA, target_modules=targets))
    assert str(refusal.value) == (
        f"learner.lora.target_modules={list(targets)}: {type(base).__name__} has no linear layer '{wrong}' below its "
        "head; choose from down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj, or all-linear"
    )


def test_the_state_of_a_policy_with_an_adapter_is_the_adapter(base: PreTrainedModel) -> None:
    """The embedding of a model with a tied head has three names."""
    adapter, policy = Adapter(base, LORA), PolicyModule(base)
    keep_trained(policy)
    assert len(policy.state_dict()) == len(adapter.matrices) == 2 * 3 * 7
    assert all(".lora_" in name for name in policy.state_dict())


class Shapes(TorchDispatchMode):
    """Keeps the shapes of all tensors that are made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.seen |= {tuple(one.shape) for one in [made] if isinstance(one, Tensor)}
        return made


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_head_takes_no_memory_for_a_gradient(frozen: bool) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(5, 8, requires_grad=True), torch.randn(61, 8, requires_grad=not frozen)
    logprobs, _ = ChunkedLogprobs.apply(hidden, weight, torch.arange(5), 1.0)
    with Shapes() as shapes:
        logprobs.sum().backward()
    assert ((61, 8) in shapes.seen) == (not frozen)
    assert hidden.grad is not None


@pytest.mark.slow
@pytest.mark.parametrize(("world_size", "zero_stage"), [(1, 1), (2, 2), (2, 3)])
def test_scores_and_update_of_an_adapter_equal_the_row_by_row_reference(
    start: Starter, batch: TokenBatch, model_folder: Path, tmp_path: Path, world_size: int, zero_stage: int
) -> None:
    """Weights after one update; scores and loss after it, where A has a gradient too, since B is no longer 0."""
    config = replace(ADAPTED, world_size=world_size, zero_stage=zero_stage, gradient_checkpointing=zero_stage == 2)
    learner, model = start(config), fresh(model_folder)
    base = dict(model.named_parameters())
    untouched = {name: one.detach().clone() for name, one in base.items()}
    plain = slow_scores(model, batch, config.temperature)
    adapter = Adapter(model, LORA)
    for update in (1, 2):
        expected = slow_scores(model, batch, config.temperature)
        scores = learner.score(batch)
        np.testing.assert_allclose(scores.logprobs, expected, atol=1e-3)
        np.testing.assert_allclose(scores.ref_logprobs, plain, atol=2e-5)
        targets = off_policy(batch, expected)
        report = learner.learn(batch, targets, seed=0)
        assert report.loss == pytest.approx(slow_learn(model, batch, targets, config), abs=1e-3)
        if update == 1:
            merged = {name: adapter.merged(name, one.detach()) for name, one in base.items()}
            assert_same_weights(weights_of(learner, tmp_path), merged, config.learning_rate)
    assert all(torch.equal(base[name], untouched[name]) for name in base)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "zero_stage"), [("float32", 1), ("bfloat16", 3)])
def test_a_resumed_adapter_continues_exactly_and_its_checkpoint_holds_nothing_of_the_base(
    start: Starter, batch: TokenBatch, tmp_path: Path, dtype: Precision, zero_stage: int
) -> None:
    config = replace(ADAPTED, world_size=2, dtype=dtype, zero_stage=zero_stage, optimizer_steps=2)
    resumed_exactly(start, config, batch, tmp_path)
    for file in (tmp_path / "state").rglob("*model_states.pt"):
        module = torch.load(file, weights_only=False)["module"]
        assert [name for name in module if "lora_" not in name] == []


@pytest.mark.slow
def test_a_checkpoint_of_another_adapter_or_of_another_base_is_refused(
    start: Starter, untied_llama: PreTrainedModel, tmp_path: Path
) -> None:
    save(start(ADAPTED), tmp_path / "state")
    for config, folder, told in (
        (CONFIG, None, r"'lora': \{.*'rank': 4"),
        (replace(ADAPTED, lora=replace(LORA, rank=8)), None, "'rank': 4.*'rank': 8"),
        (ADAPTED, tmp_path / "other", "'base': "),
    ):
        if folder is not None:
            untied_llama.save_pretrained(folder)
        with pytest.raises(ConfigError, match=told):
            start(config, folder).load(tmp_path / "state")


@pytest.mark.slow
def test_export_writes_the_merged_model_and_the_adapter_beside_it(
    start: Starter, batch: TokenBatch, model_folder: Path, tmp_path: Path
) -> None:
    learner = start(replace(ADAPTED, world_size=2, zero_stage=3))
    learner.sft(batch, optimizer_steps=2)
    published, scored = weights_of(learner, tmp_path), learner.score(batch).logprobs
    learner.export(tmp_path / "model")
    exported = fresh(tmp_path / "model")
    for name, parameter in exported.named_parameters():
        assert torch.equal(parameter, published[name]), name
    adapted = PeftModel.from_pretrained(fresh(model_folder), str(tmp_path / "adapter"))
    for model in (exported, adapted):
        np.testing.assert_allclose(slow_scores(model, batch, CONFIG.temperature), scored, atol=1e-4)
    assert np.abs(scored - slow_scores(fresh(model_folder), batch, CONFIG.temperature)).max() > 0.01
