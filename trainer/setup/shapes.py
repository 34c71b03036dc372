"""The shape of the model that a user names, as far as this machine knows it without loading anything."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from trainer.config.build import ConfigError, ModelError
from trainer.config.settings import ModelConfig
from trainer.config.shape import ModelShape, ShapeUnknown

KV_HEADS, VOCABULARY = "key and value heads", "tokens"
VOCABULARY_PADDING = 64
"""vLLM pads the rows of an embedding to a multiple of this."""


def shape_of(model: ModelConfig) -> ModelShape:
    """That of the model's config.json in its folder or in the hub's cache on this machine, else model.shape.

    Raises ConfigError where it is not known, and for a model of another kind.
    """
    shape = find_shape(model)
    if shape is None and Path(model.source).exists():
        raise ConfigError(
            f"model.source={model.source!r} is no Hugging Face folder: it has no config.json; give one that has"
        )
    if shape is None:
        raise ConfigError(
            f"model.source={model.source!r} is not on this machine, so its shape is not known: fetch it, or give "
            "model.shape={hidden:...,layers:...,heads:...,kv_heads:...,mlp:...,vocabulary:...}"
        )
    return shape


def find_shape(model: ModelConfig) -> ModelShape | None:
    """As `shape_of`, but None where it is not known on this machine. Raises ConfigError for a model of another kind."""
    if model.source == "tiny":
        return model.tiny.shape(model.tiny.vocab_size)
    file = _config_file(model)
    if file is None:
        return model.shape
    try:
        return ModelShape.read(_read(file))
    except ModelError as error:
        if model.shape is not None and isinstance(error, ShapeUnknown):
            return model.shape
        raise ConfigError(f"{file}: {error}") from error


def check_shared(model: ModelConfig, tensor_parallel: int) -> None:
    """Raise ConfigError where `tensor_parallel` GPUs cannot share the model evenly: its heads, MLP and vocabulary.

    A model that is not on this machine yet is not checked: vLLM checks it when it loads.
    """
    if tensor_parallel == 1:
        return
    parts = _shared_parts(model)
    wrong = [f"{size} {name}" for name, size in parts.items() if not _divides(tensor_parallel, name, size)]
    if wrong:
        fitting = (
            gpus
            for gpus in range(tensor_parallel - 1, 0, -1)
            if all(_divides(gpus, name, size) for name, size in parts.items())
        )
        raise ConfigError(
            f"engine.tensor_parallel={tensor_parallel} does not divide the {', '.join(wrong)} of "
            f"model.source={model.source!r}: take {next(fitting)}"
        )


def described(model: ModelConfig) -> dict[str, Any] | None:
    """The model's config.json; None where it is not on this machine. Of a tiny one, which is made later, its type."""
    if model.source == "tiny":
        shape = model.tiny.shape(model.tiny.vocab_size)
        return {"model_type": "qwen2", "head_dim": shape.head_size}
    return None if (file := _config_file(model)) is None else _read(file)


def _shared_parts(model: ModelConfig) -> dict[str, int]:
    """What GPUs share of a model, by name, as far as it is known here."""
    if model.shape is not None or model.source == "tiny":
        shape = shape_of(model)
        sizes = shape.heads, shape.kv_heads, shape.mlp, shape.vocabulary
    else:
        settings = described(model) or {}
        heads = settings.get("num_attention_heads")
        kv_heads = settings.get("num_key_value_heads", heads)
        sizes = heads, kv_heads, settings.get("intermediate_size"), settings.get("vocab_size")
    parts = zip(("attention heads", KV_HEADS, "MLP units", VOCABULARY), sizes, strict=True)
    return {name: size for name, size in parts if size is not None}


def _divides(gpus: int, name: str, size: int) -> bool:
    """Whether GPUs can share what has this size, as vLLM does it.

    It pads the vocabulary, and where there are fewer key and value heads than GPUs, gives each to several of them.
    """
    if name == VOCABULARY:
        size = -(-size // VOCABULARY_PADDING) * VOCABULARY_PADDING
    return size % gpus == 0 or (name == KV_HEADS and gpus % size == 0)


def file_of(model: ModelConfig, name: str) -> Path | None:
    """A file of the model, in its folder or in the hub's cache; None where it is not on this machine."""
    folder = Path(model.source)
    file = folder / name if folder.is_dir() else try_to_load_from_cache(model.source, name)
    return Path(file) if isinstance(file, str | Path) and Path(file).is_file() else None


def _config_file(model: ModelConfig) -> Path | None:
    return file_of(model, "config.json")


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}: {error}") from error
