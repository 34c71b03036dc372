"""Whether sequences are packed is decided from the model's config.json, before anything starts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainer.config.build import ConfigError
from trainer.config.learner import LearnerConfig
from trainer.config.settings import ModelConfig, TuningConfig
from trainer.setup.packing import check_packing, packing_line, with_packing

ON_GPU = LearnerConfig(device="cuda", dtype="bfloat16")
QWEN = {"model_type": "qwen2", "hidden_size": 64, "num_attention_heads": 4}
GEMMA2 = QWEN | {"model_type": "gemma2", "attn_logit_softcapping": 50.0}


def named(source: str) -> ModelConfig:
    tuning = TuningConfig(learning_rate=1e-6, warmstart_learning_rate=1e-5, layer=-1, eps="auto")
    return ModelConfig(source=source, prompt_tokens=64, response_tokens=8, tuning=tuning)


def folder(at: Path, model: dict[str, Any]) -> str:
    (at / "config.json").write_text(json.dumps(model))
    return str(at)


@pytest.mark.parametrize(
    ("config", "model", "chosen"),
    [
        (ON_GPU, QWEN, "packed"),
        (ON_GPU, GEMMA2, "padded"),
        (ON_GPU, QWEN | {"head_dim": 512}, "padded"),
        (replace(ON_GPU, dtype="float32"), QWEN, "padded"),
        (replace(ON_GPU, packing="padded"), QWEN, "padded"),
        (LearnerConfig(), QWEN, "padded"),
        (LearnerConfig(packing="packed"), QWEN, "packed"),
    ],
)
def test_gpus_pack_what_their_kernel_computes_and_cpus_pad(
    tmp_path: Path, config: LearnerConfig, model: dict[str, Any], chosen: str
) -> None:
    assert with_packing(config, folder(tmp_path, model)).packing == chosen


@pytest.mark.parametrize(
    ("config", "model", "reason"),
    [
        (LearnerConfig(), QWEN | {"model_type": "bloom"}, "model_type='bloom' is none of the families"),
        (LearnerConfig(), QWEN | {"attn_logit_softcapping": 50.0}, "its attention has a soft cap of 50.0"),
        (LearnerConfig(), QWEN | {"use_bidirectional_attention": True}, "attends in both directions"),
        (
            LearnerConfig(),
            QWEN | {"model_type": "qwen2_moe", "use_sliding_window": True},
            "its sliding window is",
        ),
        (ON_GPU, QWEN | {"head_dim": 512}, "its heads of 512 are wider than 256"),
        (replace(ON_GPU, dtype="float32"), QWEN, "cluster.dtype='float32'"),
    ],
)
def test_packing_that_a_model_does_not_allow_is_refused_with_the_reason(
    tmp_path: Path, config: LearnerConfig, model: dict[str, Any], reason: str
) -> None:
    source = named(folder(tmp_path, model))
    with pytest.raises(ConfigError, match=rf"learner\.packing='packed', but .*{reason}.*: take learner\.packing=pad"):
        check_packing(replace(config, packing="packed"), source)


def test_a_plan_says_what_it_packs_and_why_not(tmp_path: Path) -> None:
    gemma = named(folder(tmp_path, GEMMA2))
    assert packing_line(ON_GPU, gemma).startswith("learner.packing=padded: model_type='gemma2' is none of")
    assert packing_line(ON_GPU, named("tiny")) == "learner.packing=packed"
    assert packing_line(ON_GPU, named("nobody/knows")).endswith("if the model's config.json allows it")
