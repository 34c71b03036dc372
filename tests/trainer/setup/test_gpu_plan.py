"""What a run takes of its GPUs: a model's shape, the arithmetic of its memory, and the placement that is chosen."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GraniteConfig, LlamaConfig, MixtralConfig, Qwen2Config, Qwen3Config

from trainer.config.build import ModelError
from trainer.config.learner import LoraConfig
from trainer.config.shape import ModelShape
from trainer.learner.adapter import Adapter
from trainer.learner.head import LOGITS_PER_CHUNK
from trainer.setup import gpu_memory
from trainer.setup.gpu_memory import CONTEXT_BYTES, GIB, Serving, Training
from trainer.setup.gpu_plan import GpuPlan, GpuRequest, plan_gpus
from trainer.setup.models import random_qwen2

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 160,
}
QWEN_05B = ModelShape(
    hidden=896, layers=24, heads=14, kv_heads=2, mlp=4864, vocabulary=151_936, tied=True, qkv_bias=True
)
QWEN_15B = ModelShape(
    hidden=1536, layers=28, heads=12, kv_heads=2, mlp=8960, vocabulary=151_936, tied=True, qkv_bias=True
)
QWEN_7B = ModelShape(hidden=3584, layers=28, heads=28, kv_heads=4, mlp=18_944, vocabulary=152_064, qkv_bias=True)
PAPER = {"requests": 128, "context": 2560}  # 16 groups of 8 rollouts, prompts of 2,048 and responses of 512 tokens


def request(shape: ModelShape, gpus: int, *, checkpointing: bool = True) -> GpuRequest:
    kv_cache = gpu_memory.kv_cache_bytes(shape, requests=PAPER["requests"] // gpus, context=PAPER["context"])
    return GpuRequest(
        shape=shape,
        training=Training(ranks=gpus, zero_stage=1, token_budget=16_384, checkpointing=checkpointing, reference=True),
        serving=Serving(tensor_parallel=1, kv_cache_bytes=kv_cache),
        gpu_bytes=int(79.6 * GIB),
    )


@pytest.mark.parametrize("config", [Qwen2Config, LlamaConfig, GraniteConfig])
@pytest.mark.parametrize("tied", [True, False])
def test_the_shape_of_a_config_counts_the_models_parameters(config: type, tied: bool) -> None:
    described = config(**SMALL, tie_word_embeddings=tied)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(described)
    assert ModelShape.read(described.to_dict()).parameters == sum(p.numel() for p in model.parameters())


def test_a_model_whose_heads_are_wider_than_its_share_is_read_with_their_width() -> None:
    assert ModelShape.read(Qwen3Config(**SMALL, head_dim=32).to_dict()).head_size == 32


def test_a_mixture_of_experts_is_refused() -> None:
    with pytest.raises(ModelError, match="model_type='mixtral' is a mixture of experts"):
        ModelShape.read(MixtralConfig(**SMALL).to_dict())


@pytest.mark.parametrize(
    ("shape", "parameters"), [(QWEN_05B, 494_032_768), (QWEN_15B, 1_543_714_304), (QWEN_7B, 7_615_616_512)]
)
def test_the_parameters_of_qwen_2_5_are_those_that_its_cards_give(shape: ModelShape, parameters: int) -> None:
    assert shape.parameters == parameters


def test_the_bytes_of_a_rank_are_those_of_the_formulas() -> None:
    # A shape of exactly P = 1 block; every term is a multiple of P.
    shape, p = QWEN_15B, QWEN_15B.parameters
    two = Training(ranks=2, zero_stage=1, token_budget=1, checkpointing=True, reference=True)
    idle = {
        0: 2 * p + 4 * p + 12 * p + 2 * p,
        1: 2 * p + 4 * p + 6 * p + 2 * p,
        2: 2 * p + 6 * p + 2 * p,
        3: 8 * p + 2 * p + 2 * gpu_memory.BUCKET_BYTES,  # the gradients' buffers
    }
    for stage, expected in idle.items():
        training = replace(two, zero_stage=stage)
        assert gpu_memory.learner_idle(shape, training) == CONTEXT_BYTES + expected
        without = replace(training, reference=False)
        saved = gpu_memory.learner_idle(shape, training) - gpu_memory.learner_idle(shape, without)
        assert saved == (p if stage == 3 else 2 * p)


@pytest.mark.parametrize(("shape", "rank", "parameters"), [(QWEN_7B, 32, 80_740_352), (QWEN_05B, 8, 4_399_104)])
def test_the_parameters_of_an_adapter_are_those_that_peft_counts(shape: ModelShape, rank: int, parameters: int) -> None:
    config = LoraConfig(rank=rank)
    with torch.device("meta"):
        model = random_qwen2(replace(shape, layers=2), context=64)
        matrices = Adapter(model, config).matrices
    counted = sum(matrix.numel() for matrix in matrices.values())
    assert shape.adapter_parameters(rank) == counted * shape.layers // 2 == parameters


def test_an_adapter_takes_the_base_once_and_its_own_18_bytes_a_parameter() -> None:
    shape, p, a = QWEN_7B, QWEN_7B.parameters, QWEN_7B.adapter_parameters(32)
    one = Training(ranks=1, zero_stage=1, token_budget=1, checkpointing=True, reference=True, adapter_rank=32)
    for reference in (True, False):  # the reference is the policy with the adapter off
        assert gpu_memory.learner_idle(shape, replace(one, reference=reference)) == CONTEXT_BYTES + 2 * p + 18 * a
    two = replace(one, zero_stage=3, ranks=2)
    assert gpu_memory.learner_idle(shape, two) == CONTEXT_BYTES + (2 * p + 18 * a) // 2 + 4 * a
    assert gpu_memory.checkpoint_bytes(shape, one) == 14 * a
    assert gpu_memory.export_bytes(shape, one) == 2 * p + 2 * a
    assert gpu_memory.host_bytes(shape, one, "file") == 2 * 14 * a + 2 * p + 2 * a + 4 * p


@pytest.mark.parametrize("rank", [None, 32])
def test_a_twin_takes_what_the_policy_takes_once_more(rank: int | None) -> None:
    shape = QWEN_15B
    alone = Training(ranks=2, zero_stage=1, token_budget=1000, checkpointing=True, reference=False, adapter_rank=rank)
    both = replace(alone, twin=True)
    for stage in (1, 3):
        first, second = (
            gpu_memory.learner_idle(shape, replace(one, zero_stage=stage)) - CONTEXT_BYTES for one in (alone, both)
        )
        assert second == 2 * first
        step, with_twin = (  # a step is taken by one of them at a time
            gpu_memory.learner_peak(shape, replace(one, zero_stage=stage))
            - gpu_memory.learner_idle(shape, replace(one, zero_stage=stage))
            for one in (alone, both)
        )
        assert with_twin == step
    assert gpu_memory.checkpoint_bytes(shape, both) == 2 * gpu_memory.checkpoint_bytes(shape, alone)
    assert gpu_memory.export_bytes(shape, both) == gpu_memory.export_bytes(shape, alone)


def test_seven_billion_parameters_fit_one_gpu_with_an_adapter_and_not_without() -> None:
    full = request(QWEN_7B, 1)
    adapted = replace(full, training=replace(full.training, adapter_rank=32))
    plan = plan_gpus(adapted)
    assert not plan_gpus(full).fits
    assert (plan.fits, plan.placement, plan.zero_stage) == (True, "side by side", 1)


def test_a_step_adds_no_gradients_to_the_float32_sums_of_stage_1_and_two_copies_at_stage_2() -> None:
    shape, p = QWEN_15B, QWEN_15B.parameters
    one = Training(ranks=2, zero_stage=1, token_budget=1, checkpointing=True, reference=True)
    fixed = gpu_memory.activations(shape, one) + gpu_memory.head(shape, one)
    assert gpu_memory.learner_peak(shape, one) == gpu_memory.learner_idle(shape, one) + fixed
    two = replace(one, zero_stage=2)
    added = 2 * 2 * p + 2 * gpu_memory.BUCKET_BYTES  # 4P/W for two ranks, twice
    assert gpu_memory.learner_peak(shape, two) == gpu_memory.learner_idle(shape, two) + added + fixed


def test_stage_3_loads_each_model_whole_before_it_is_divided() -> None:
    """32B parameters on 32 GPUs: what a rank holds between updates fits beside an engine, and loading it does not."""
    shape = ModelShape(hidden=5120, layers=64, heads=40, kv_heads=8, mlp=27_648, vocabulary=152_064, qkv_bias=True)
    p = shape.parameters
    one = Training(ranks=32, zero_stage=3, token_budget=16_384, checkpointing=True, reference=False)
    assert gpu_memory.learner_start(shape, one) == CONTEXT_BYTES + 2 * p
    anchored = replace(one, reference=True)
    assert gpu_memory.learner_start(shape, anchored) == gpu_memory.learner_idle(shape, one) + 2 * p
    assert gpu_memory.learner_start(shape, replace(anchored, adapter_rank=32)) == CONTEXT_BYTES + 2 * p
    first = replace(anchored, zero_stage=1)
    assert gpu_memory.learner_start(shape, first) == gpu_memory.learner_idle(shape, first)
    serving = Serving(tensor_parallel=4, kv_cache_bytes=2 * GIB)
    plan = plan_gpus(GpuRequest(shape=shape, training=anchored, serving=serving, gpu_bytes=int(79.6 * GIB)))
    assert plan.learner_idle + plan.engine_awake < plan.limit
    assert (plan.fits, plan.peak) == (False, plan.learner_start + plan.engine_asleep)


def test_a_plans_logits_are_those_of_the_head_on_a_gpu() -> None:
    assert 3 * 4 * LOGITS_PER_CHUNK["cuda"] == gpu_memory.LOGITS_BYTES
    training = Training(ranks=1, zero_stage=1, token_budget=1, checkpointing=True, reference=True)
    assert gpu_memory.head(QWEN_7B, training) - gpu_memory.LOGITS_BYTES == 10 * 152_064 * 3584
    assert gpu_memory.head(QWEN_7B, replace(training, adapter_rank=32)) == gpu_memory.LOGITS_BYTES


def test_checkpointing_keeps_one_input_a_block_and_the_activations_of_one_block() -> None:
    plain = Training(ranks=1, zero_stage=1, token_budget=1000, checkpointing=False, reference=True)
    block = 1000 * (31 * 1536 + 8 * 8960)
    assert gpu_memory.activations(QWEN_15B, plain) == 28 * block
    assert gpu_memory.activations(QWEN_15B, replace(plain, checkpointing=True)) == 28 * 1000 * 2 * 1536 + block


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
@pytest.mark.parametrize(("shape", "checkpointing"), [(QWEN_05B, False), (QWEN_15B, True)])
def test_small_models_stand_side_by_side_with_their_engines(shape: ModelShape, checkpointing: bool, gpus: int) -> None:
    plan = plan_gpus(request(shape, gpus, checkpointing=checkpointing))
    assert (plan.fits, plan.placement, plan.zero_stage) == (True, "side by side", 1)


@pytest.mark.parametrize(
    ("gpus", "fits", "placement", "zero_stage"),
    [(1, False, "sleeping", 1), (2, False, "sleeping", 3), (4, True, "sleeping", 3), (8, True, "side by side", 3)],
)
def test_seven_billion_parameters_need_four_gpus_and_sleep_there(
    gpus: int, fits: bool, placement: str, zero_stage: int
) -> None:
    plan = plan_gpus(request(QWEN_7B, gpus))
    assert (plan.fits, plan.placement, plan.zero_stage) == (fits, placement, zero_stage)


@given(st.integers(1, 64), st.integers(1, 160), st.booleans())
def test_a_plan_that_fits_never_takes_more_than_the_limit_and_more_memory_never_unfits_it(
    gpus: int, gib: int, checkpointing: bool
) -> None:
    asked = replace(request(QWEN_7B, gpus, checkpointing=checkpointing), gpu_bytes=gib * GIB)
    plan = plan_gpus(asked)
    assert plan.fits == (plan.peak <= plan.limit)
    assert plan.limit <= 0.95 * asked.gpu_bytes
    larger = plan_gpus(replace(asked, gpu_bytes=(gib + 1) * GIB))
    assert larger.fits or not plan.fits


def test_an_engine_that_sleeps_leaves_its_memory_to_the_rank() -> None:
    def only(placement: str) -> GpuPlan:
        return plan_gpus(replace(request(QWEN_7B, 4), placements=(placement,)))  # pyright: ignore[reportArgumentType]

    beside, sleeping = only("side by side"), only("sleeping")
    assert beside.peak == beside.learner_peak + beside.engine_awake
    assert sleeping.peak == max(
        sleeping.learner_peak + gpu_memory.ASLEEP_BYTES, sleeping.learner_idle + sleeping.engine_awake
    )
