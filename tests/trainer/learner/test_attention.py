"""Sequences that share a line give what each gives alone: log-probs, entropies, gradients, hidden states."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.trainer.learner.test_families import FAMILIES, build, config_of, one_thread  # noqa: F401  an autouse fixture
from trainer.config.build import ModelError
from trainer.learner import attention
from trainer.learner.check import check_forward
from trainer.learner.policy import PolicyModule, PolicyOutput
from trainer.setup.packing import PACKED_FAMILIES

LENGTHS = (7, 11, 3, 20)  # tokens of each sequence
LONGEST = max(LENGTHS)
BEGINS = np.cumsum([0, *LENGTHS])
SEQUENCES = [torch.randint(3, 61, (1, length), generator=torch.Generator().manual_seed(length)) for length in LENGTHS]
LAYER = -2
PACKABLE = [name for name in FAMILIES if config_of(name).model_type in PACKED_FAMILIES]


def ask(policy: PolicyModule, ids: Tensor, begins: list[int]) -> PolicyOutput:
    """Score all tokens but the first of each sequence, with the hidden states of all cells. ids: [1, T]"""
    cells = torch.cat([torch.arange(first, last - 1) for first, last in pairwise(begins)])
    packing = {"bounds": torch.tensor(begins).int(), "longest": LONGEST} if policy.packed else {}
    targets = ids.flatten()[cells + 1]
    embed_at = torch.arange(ids.numel())
    return policy(ids, cells, targets, temperature=0.7, layer=LAYER, embed_at=embed_at, **packing)


def one_by_one(model: PreTrainedModel) -> list[PolicyOutput]:
    return [ask(PolicyModule(model), ids, [0, ids.numel()]) for ids in SEQUENCES]


def all_packed(model: PreTrainedModel, *, checkpointing: bool = False) -> PolicyOutput:
    policy = PolicyModule(model, packed=True, gradient_checkpointing=checkpointing).train(checkpointing)
    return ask(policy, torch.cat(SEQUENCES, dim=1), BEGINS.tolist())


def gradients(output: list[PolicyOutput], model: PreTrainedModel) -> list[Tensor | None]:
    logprobs = torch.cat([part.logprobs for part in output])
    slope = torch.linspace(-1, 1, len(logprobs))
    loss = (slope * logprobs).sum() + 0.3 * torch.cat([part.entropy for part in output]).sum()
    return list(torch.autograd.grad(loss, [one for one in model.parameters() if one.requires_grad], allow_unused=True))


@pytest.mark.parametrize("family", PACKABLE)
def test_a_packed_pass_equals_a_pass_for_each_sequence(family: str) -> None:
    model = build(family)
    ones = one_by_one(model)
    slow = gradients(ones, model)
    packed = all_packed(model)
    for name in ("logprobs", "entropy", "hidden"):
        expected = torch.cat([getattr(one, name) for one in ones])
        torch.testing.assert_close(getattr(packed, name), expected, rtol=1e-4, atol=2e-5)
    for ours, theirs in zip(gradients([packed], model), slow, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_packed_pass_with_checkpointing_has_the_same_gradients() -> None:
    model = build("Qwen2")
    slow = gradients(one_by_one(model), model)
    fast = gradients([all_packed(model, checkpointing=True)], model)
    for ours, theirs in zip(fast, slow, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_packed_pass_in_bfloat16_differs_by_its_roundings() -> None:
    model = build("Qwen2").bfloat16()
    with torch.no_grad():
        ones, packed = one_by_one(model), all_packed(model)
    for name, most in (("logprobs", 0.05), ("entropy", 0.05), ("hidden", 0.1)):
        expected = torch.cat([getattr(one, name) for one in ones]).float()
        assert (getattr(packed, name).float() - expected).abs().mean() <= most * expected.abs().mean().clamp(min=1)


@pytest.mark.parametrize("family", ["Mistral", "Cohere2", "Gemma3 text"])
def test_a_sliding_window_ends_where_the_models_own_does(family: str) -> None:
    model = build(family)
    for module in model.modules():
        if getattr(module, "sliding_window", None) is not None:
            module.sliding_window = 4
    model.config.sliding_window = 4
    with torch.no_grad():
        ones, packed = one_by_one(model), all_packed(model)
    expected = torch.cat([one.logprobs for one in ones])
    torch.testing.assert_close(packed.logprobs, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", PACKABLE)
def test_a_packed_family_passes_the_check_against_its_own_padded_forward(family: str, dtype: torch.dtype) -> None:
    check_forward(PolicyModule(build(family).to(dtype), packed=True), temperature=0.7, layer=LAYER)


def test_sequences_that_see_each_other_are_found_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_in_one(module: Any, query: Tensor, key: Tensor, value: Tensor, bounds: list[int], *rest: Any) -> Tensor:
        return apart(module, query, key, value, [0, bounds[-1]], *rest)

    apart = attention._one_by_one
    monkeypatch.setattr(attention, "_one_by_one", all_in_one)
    with pytest.raises(ModelError, match=r"layer 1 as the learner computes it is off by"):
        check_forward(PolicyModule(build("Qwen2"), packed=True), temperature=1.0)


def test_an_option_that_packed_attention_does_not_compute_is_refused() -> None:
    with pytest.raises(ModelError, match=r"Gemma2Attention has softcap, .*: set learner\.packing=padded"):
        all_packed(build("Gemma2"))
