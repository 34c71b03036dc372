"""A loaded policy is the same distribution in training mode, where gradients are taken, and in evaluation mode."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.trainer.conftest import SHAPE
from trainer.learner.export import persistent_buffers
from trainer.learner.load import load_model

RANDOM_IN_TRAINING = {
    "attention dropout": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, attention_dropout=0.5)),
    "every dropout of GPT-2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    ),
    "every dropout of Phi": lambda: PhiForCausalLM(
        PhiConfig(**SHAPE, attention_dropout=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    ),
    "dropped layers": lambda: OPTForCausalLM(
        OPTConfig(**SHAPE, ffn_dim=48, word_embed_proj_dim=32, dropout=0.5, attention_dropout=0.5, layerdrop=0.5)
    ),
    "a jittering router": lambda: MixtralForCausalLM(
        MixtralConfig(**SHAPE, num_local_experts=2, router_jitter_noise=0.5)
    ),
}


@pytest.fixture(params=RANDOM_IN_TRAINING)
def random_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    return RANDOM_IN_TRAINING[request.param]()


def test_a_policy_gives_the_same_logits_in_training_as_in_evaluation(
    random_model: PreTrainedModel, tmp_path: Path
) -> None:
    random_model.save_pretrained(tmp_path)
    ids = torch.arange(3, 23)[None]
    with torch.no_grad():
        assert not torch.equal(random_model.train()(ids).logits, random_model.eval()(ids).logits)
        model = load_model(str(tmp_path), torch.float32)
        scored = model(ids).logits
        torch.testing.assert_close(model.train()(ids).logits, scored, rtol=0, atol=1e-6)
        torch.testing.assert_close(scored, random_model.eval()(ids).logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_policy_is_loaded_in_the_precision_that_was_asked_for(tmp_path: Path, dtype: torch.dtype) -> None:
    Qwen2ForCausalLM(Qwen2Config(**SHAPE)).save_pretrained(tmp_path)
    model = load_model(str(tmp_path), dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert not model.training


def test_the_soft_cap_of_gemma_2s_attention_is_not_passed_over(tmp_path: Path) -> None:
    capped_at = {"attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 1}
    config = Gemma2Config(**{**SHAPE, "head_dim": 8, "initializer_range": 0.5, **capped_at})
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    model, ids = load_model(str(tmp_path), torch.float32), torch.arange(20)[None]
    capped = model(ids).logits
    model.set_attn_implementation("eager")
    assert torch.equal(capped, model(ids).logits)
    model.config.attn_logit_softcapping = None
    for module in model.modules():
        if hasattr(module, "attn_logit_softcapping"):
            module.attn_logit_softcapping = None
    assert (capped - model(ids).logits).abs().max() > 0.1


def test_an_export_holds_the_buffers_that_a_models_files_hold() -> None:
    block = nn.Module()
    block.register_buffer("scalar", torch.full((1,), 0.5))
    block.register_buffer("frequencies", torch.ones(2), persistent=False)
    model = nn.Sequential(block)
    assert persistent_buffers(model) == {"0.scalar": torch.tensor([0.5])}
