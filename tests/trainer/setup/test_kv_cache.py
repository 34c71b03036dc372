"""The KV cache of an engine holds all its requests at once, as far as a CPU's memory goes, and is given in bytes."""

import json
from pathlib import Path

import pytest

from rollout.engines import CPU_CACHE_BYTES, EngineConfig
from rollout.types import Device
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


def sized(folder: Path, config: EngineConfig, memory: int = 2**40) -> int | None:
    (folder / "config.json").write_text(json.dumps(QWEN_15B))
    return with_kv_cache(config, str(folder), context=2544, memory=memory).kv_cache_bytes


@pytest.mark.parametrize("requests", [1, 128])
@pytest.mark.parametrize(("tensor_parallel", "heads"), [(1, 2), (2, 1), (4, 1)])  # four GPUs hold two copies
def test_an_engines_cache_on_gpus_has_room_for_all_its_requests(
    tmp_path: Path, tensor_parallel: int, heads: int, requests: int
) -> None:
    config = EngineConfig(device="cuda", dtype="bfloat16", max_num_seqs=requests, tensor_parallel=tensor_parallel)
    # Keys and values of 28 layers, heads of 128 numbers, 2 bytes each; 2,544 tokens are 159 blocks of 16, and vLLM
    # keeps one block for itself.
    assert sized(tmp_path, config) == (requests * 159 + 1) * 16 * (2 * 28 * heads * 128 * 2)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_size_that_was_given_stays(tmp_path: Path, device: Device) -> None:
    assert sized(tmp_path, EngineConfig(device=device, kv_cache_bytes=2**30)) == 2**30


def test_the_caches_on_a_cpu_take_an_eighth_of_its_memory_at_most_and_are_never_tiny(
    tmp_path: Path,
) -> None:
    # In float32, with blocks of 32 tokens: 80 for each request, and one more.
    assert sized(tmp_path, EngineConfig(max_num_seqs=8)) == (8 * 80 + 1) * 32 * (2 * 28 * 2 * 128 * 4)
    assert sized(tmp_path, EngineConfig(count=2), memory=2**34) == 2**34 // 8 // 2
    assert sized(tmp_path, EngineConfig(), memory=2**30) == CPU_CACHE_BYTES


def test_a_model_without_a_known_shape_asks_for_the_size_on_gpus_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**QWEN_15B, "num_experts": 8}))
    options = {"context": 512, "memory": 2**40}
    with pytest.raises(ModelError, match=r"set engine\.kv_cache_bytes"):
        with_kv_cache(EngineConfig(device="cuda"), str(tmp_path), **options)
    assert with_kv_cache(EngineConfig(), str(tmp_path), **options).kv_cache_bytes == CPU_CACHE_BYTES
