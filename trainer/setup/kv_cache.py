"""The size of an engine's KV cache, from the model's shape and from what the engine serves at once."""

import json
from dataclasses import replace
from pathlib import Path

from rollout.engines import CPU_BLOCK, CPU_CACHE_BYTES, EngineConfig
from trainer.config.build import ModelError
from trainer.config.shape import ModelShape
from trainer.setup.gpu_memory import kv_cache_bytes

BLOCK = {"cpu": CPU_BLOCK, "cuda": 16}
"""Tokens of one block of vLLM's cache."""
CPU_SHARE = 8
"""The caches of all engines on a CPU take one such part of the machine's memory at most: learner and worlds need it."""


def with_kv_cache(config: EngineConfig, folder: str, *, context: int, memory: int) -> EngineConfig:
    """The engines' settings with a size in the place of null: the room of all requests that an engine serves at once.

    A cache with less room drops prompts that the next turn computes again. On a CPU it has at least `CPU_CACHE_BYTES`,
    and no more than its part of the memory.

    folder: the model's. context: prompt and response together, in tokens. memory: of the machine, in bytes. Raises
    ModelError for a model for GPUs whose shape config.json does not tell.
    """
    if config.kv_cache_bytes is not None:
        return config
    try:
        shape = ModelShape.read(json.loads((Path(folder) / "config.json").read_text()))
    except ModelError as error:
        if config.device == "cpu":
            return replace(config, kv_cache_bytes=CPU_CACHE_BYTES)
        raise ModelError(f"{folder}: {error}; set engine.kv_cache_bytes to the bytes of its KV cache") from error
    width = 2 if config.dtype == "float32" else 1  # the shape counts in bfloat16
    room = width * kv_cache_bytes(
        shape,
        requests=config.max_num_seqs,
        context=context,
        block=BLOCK[config.device],
        tensor_parallel=config.tensor_parallel,
    )
    if config.device == "cpu":
        room = max(CPU_CACHE_BYTES, min(room, memory // CPU_SHARE // config.count))
    return replace(config, kv_cache_bytes=room)
