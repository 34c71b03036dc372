"""The folder of a model that a user names: what must lie in it, checked without loading anything."""

import json
import re
from pathlib import Path
from typing import Any

from trainer.checkpoint import newest_export
from trainer.config.build import ConfigError
from trainer.config.settings import ModelConfig

MADE_HERE = ("tiny", "smollm2_135m")  # model sources that are neither a folder nor a hub id
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
WEIGHTS = ("*.safetensors", "*.bin")
INDEX = "model.safetensors.index.json"


def model_folder(config: ModelConfig, *, trained: bool = True) -> Path | None:
    """The folder that model.source names; None where it is a hub id or a model made here.

    trained: whether it will be trained and not only served. Raises ConfigError for a folder that lacks a part of a
    model, for one with a shorter context than asked for, and for quantised weights that would be trained.
    """
    folder, source = Path(config.source), config.source
    if source in MADE_HERE or (HUB_ID.fullmatch(source) and not folder.exists()):
        return None
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        why = "it is a LoRA adapter: merge it" if adapter else "it has no config.json"
        raise ConfigError(
            f"model.source={source!r} is no Hugging Face folder: {why}; give one that has, such as "
            "RUN/checkpoints/update-000025/model, or a hub id"
        )
    described = _read(folder / "config.json")
    _check_whole(folder, described)
    if trained and "quantization_config" in described:
        raise ConfigError(f"model.source={source!r} has quantised weights, which cannot be trained: take the originals")
    longest = described.get("max_position_embeddings", config.context)
    if config.context > longest:
        raise ConfigError(
            f"model.prompt_tokens={config.prompt_tokens} + model.response_tokens={config.response_tokens} is longer "
            f"than the context of {longest} that {folder / 'config.json'} has: lower one of them"
        )
    return folder.absolute()


def _check_whole(folder: Path, described: dict[str, Any]) -> None:
    """Raise ConfigError where the configuration, a file of the weights or the tokenizer is missing."""
    if "model_type" not in described:
        if (export := newest_export(folder)) is not None:
            raise ConfigError(f"model.source='{folder}' is a run: its newest model is model.source={export}")
        raise ConfigError(f"{folder / 'config.json'} has no model_type: export the model anew with save_pretrained")
    if not any(path for pattern in WEIGHTS for path in folder.glob(pattern)):
        raise ConfigError(f"model.source='{folder}' holds no weights ({' or '.join(WEIGHTS)}): export the model anew")
    if (folder / INDEX).is_file():
        shards = set(_read(folder / INDEX).get("weight_map", {}).values())
        if missing := sorted(shard for shard in shards if not (folder / shard).is_file()):
            raise ConfigError(f"model.source='{folder}' lacks {missing[0]}, which {INDEX} names: copy the rest of it")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ConfigError(
            f"model.source='{folder}' holds no tokenizer ({', '.join(TOKENIZERS)}): save it beside the weights"
        )


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is broken ({error}): export the model anew") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file} holds {type(values).__name__}, not a mapping: export the model anew")
    return values
