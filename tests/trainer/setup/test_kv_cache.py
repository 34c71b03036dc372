"""The KV cache of an engine on GPUs holds all its requests at once, and is given in bytes."""

import json
from pathlib import Path

import pytest

from rollout.engines import EngineConfig
from trainer.config.build import ModelError
from trainer.setup.kv_cache import with_kv_cache

QWEN_15B = {
    "model_type": "qwen2",
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "vocab_size": 151_936,
}


def sized(folder: Path, config: EngineConfig) -> int | None:
    (folder / "config.json").write_text(json.dumps(QWEN_15B))
    return with_kv_cache(config, str(folder), context=2544).kv_cache_bytes


@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_an_engines_cache_on_gpus_has_room_for_all_its_requests(tmp_path: Path, tensor_parallel: int) -> None:
    config = EngineConfig(device="cuda", max_num_seqs=128, tensor_parallel=tensor_parallel)
    # Keys and values of 28 blocks, 2 heads of 128 numbers, 2 bytes each; 2,544 tokens and a block of 16.
    assert sized(tmp_path, config) == 128 * 2560 * (2 * 28 * 2 * 128 * 2) // tensor_parallel


def test_a_size_that_was_given_and_a_cpus_stay(tmp_path: Path) -> None:
    assert sized(tmp_path, EngineConfig(device="cuda", kv_cache_bytes=2**30)) == 2**30
    assert sized(tmp_path, EngineConfig(device="cpu")) is None


def test_a_model_without_a_known_shape_asks_for_the_size(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**QWEN_15B, "num_experts": 8}))
    with pytest.raises(ModelError, match=r"set engine\.kv_cache_bytes"):
        with_kv_cache(EngineConfig(device="cuda"), str(tmp_path), context=512)
