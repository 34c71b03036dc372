"""The size of an engine's KV cache on GPUs, from the model's shape and from what the engine serves at once."""

import json
from dataclasses import replace
from pathlib import Path

from rollout.engines import EngineConfig
from trainer.config.build import ModelError
from trainer.config.shape import ModelShape
from trainer.setup.gpu_memory import kv_cache_bytes

BLOCK = 16
"""Tokens of one block of vLLM's cache on GPUs; a request's last block may be almost empty."""


def with_kv_cache(config: EngineConfig, folder: str, *, context: int) -> EngineConfig:
    """The engines' settings with a size in the place of null. On a CPU, as they are.

    folder: the model's. context: prompt and response together, in tokens. Raises ModelError for a model whose shape
    config.json does not tell.
    """
    if config.device == "cpu" or config.kv_cache_bytes is not None:
        return config
    try:
        shape = ModelShape.read(json.loads((Path(folder) / "config.json").read_text()))
    except ModelError as error:
        raise ModelError(f"{folder}: {error}; set engine.kv_cache_bytes to the bytes of its KV cache") from error
    room = kv_cache_bytes(shape, requests=config.max_num_seqs, context=context + BLOCK)
    return replace(config, kv_cache_bytes=-(-room // config.tensor_parallel))
