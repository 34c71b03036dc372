"""Whether sequences are packed or padded: decided from the model's config.json, before anything starts."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.config.build import ConfigError
from trainer.config.learner import LearnerConfig
from trainer.config.settings import ModelConfig
from trainer.setup.shapes import described

PACKED_FAMILIES = frozenset(
    {
        *("qwen2", "qwen3", "qwen2_moe", "llama", "mistral", "mixtral", "smollm3", "gemma", "gemma3_text", "phi3"),
        *("granite", "cohere", "cohere2", "olmo", "olmo2", "starcoder2", "glm4", "hyperclovax"),
    }
)
"""Model types whose packed pass is tested against a pass for each sequence."""
LARGEST_HEAD = 256
"""Of the kernel on CUDA."""


def with_packing(config: LearnerConfig, folder: str) -> LearnerConfig:
    """The settings with "packed" or "padded" in the place of null. folder: the model's.

    Raises ConfigError where learner.packing=packed asks for what the model or the device does not allow.
    """
    return decided(config, json.loads((Path(folder) / "config.json").read_text()))


def check_packing(config: LearnerConfig, model: ModelConfig) -> None:
    """Raise ConfigError as `with_packing` does, for a model that is on this machine already."""
    if (settings := described(model)) is not None:
        decided(config, settings)


def packing_line(config: LearnerConfig, model: ModelConfig) -> str:
    """What a plan says of the learner's sequences."""
    if (settings := described(model)) is None:
        return f"learner.packing={config.packing or 'null, packed'} if the model's config.json allows it"
    reason = why_padded(config, settings)
    return f"learner.packing={decided(config, settings).packing}" + (f": {reason}" if reason else "")


def decided(config: LearnerConfig, model: Mapping[str, Any]) -> LearnerConfig:
    """As `with_packing`. model: what its config.json says."""
    reason = why_padded(config, model)
    if config.packing is None:
        packed = config.device == "cuda" and reason is None
        return replace(config, packing="packed" if packed else "padded")
    if config.packing == "packed" and reason is not None:
        raise ConfigError(f"learner.packing='packed', but {reason}: take learner.packing=padded")
    return config


def why_padded(config: LearnerConfig, model: Mapping[str, Any]) -> str | None:
    """Why sequences of this model cannot be packed; None if they can. model: what its config.json says."""
    kind = model.get("model_type")
    if config.device == "cuda" and config.dtype != "bfloat16":
        return f"cluster.dtype={config.dtype!r}, which packed attention on a GPU does not take"
    if kind not in PACKED_FAMILIES:
        return f"model_type={kind!r} is none of the families whose packed attention is tested"
    if model.get("use_bidirectional_attention"):
        return f"model_type={kind!r} attends in both directions"
    if kind == "qwen2_moe" and model.get("use_sliding_window"):
        return "its sliding window is known to the mask alone, which packed attention has none of"
    if cap := model.get("attn_logit_softcapping"):
        return f"its attention has a soft cap of {cap}"
    size = model.get("head_dim") or model["hidden_size"] // model["num_attention_heads"]
    return f"its heads of {size} are wider than {LARGEST_HEAD}" if size > LARGEST_HEAD else None
