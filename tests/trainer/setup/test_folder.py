"""A model's folder that lacks a part is refused before anything loads, with the part by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.config.build import ConfigError
from trainer.config.settings import ModelConfig, TuningConfig
from trainer.setup.folder import model_folder

TUNING = TuningConfig(learning_rate=1e-6, warmstart_learning_rate=1e-5, layer=-2, eps=0.1)
WHOLE = {
    "config.json": json.dumps({"model_type": "qwen2", "max_position_embeddings": 64}),
    "model.safetensors": "",
    "tokenizer.json": "{}",
}


def written(folder: Path, **changes: str | None) -> ModelConfig:
    """A folder with the files of WHOLE, changed (None: left out); "." in a name is written "__"."""
    files: dict[str, Any] = WHOLE | {name.replace("__", "."): text for name, text in changes.items()}
    for name, text in files.items():
        if text is not None:
            (folder / name).write_text(text)
    return ModelConfig(source=str(folder), prompt_tokens=32, response_tokens=32, tuning=TUNING)


def test_a_whole_folder_is_taken(tmp_path: Path) -> None:
    assert model_folder(written(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config__json": None}, "is no Hugging Face folder: it has no config.json"),
        ({"config__json": None, "adapter_config__json": "{}"}, "it is a LoRA adapter: merge it"),
        ({"config__json": "{"}, "config.json is broken"),
        ({"config__json": "[]"}, "config.json holds list, not a mapping"),
        ({"config__json": "{}"}, "config.json has no model_type"),
        ({"model__safetensors": None}, "holds no weights"),
        ({"tokenizer__json": None}, "holds no tokenizer"),
        (
            {"model__safetensors__index__json": '{"weight_map": {"a": "part-2.safetensors"}}'},
            "lacks part-2.safetensors, which model.safetensors.index.json names",
        ),
        (
            {"config__json": '{"model_type": "qwen2", "max_position_embeddings": 63}'},
            "is longer than the context of 63",
        ),
        ({"config__json": '{"model_type": "qwen2", "quantization_config": {}}'}, "quantised weights"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model_folder(written(tmp_path, **changes))


def test_quantised_weights_may_be_served(tmp_path: Path) -> None:
    config = written(tmp_path, config__json='{"model_type": "qwen2", "quantization_config": {}}')
    assert model_folder(config, trained=False) == tmp_path
