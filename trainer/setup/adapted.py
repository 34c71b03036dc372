"""Which layers an adapter can have, read from the weights' names before anything loads."""

import difflib
import json
from pathlib import Path
from typing import Any

from trainer.config.build import ConfigError
from trainer.config.learner import LearnerConfig
from trainer.config.settings import ModelConfig
from trainer.setup.folder import INDEX, MADE_HERE
from trainer.setup.packing import PACKED_FAMILIES
from trainer.setup.shapes import described, file_of

LLAMA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of the models that are made here."""
WEIGHTS = "model.safetensors"
MATRIX = 2  # dimensions
LENGTH_BYTES = 8  # of the header's length, which a safetensors file begins with


def check_targets(config: LearnerConfig, model: ModelConfig) -> None:
    """Raise ConfigError for a target of the adapter that names no linear layer of the model.

    A model that is not on this machine, or of a family whose files may name weights otherwise than its modules, is
    checked when it loads.
    """
    targets = config.lora.target_modules
    if config.lora.rank is None or isinstance(targets, str) or (paths := linear_layers(model)) is None:
        return
    for target in targets:
        if not any(path == target or path.endswith(f".{target}") for path in paths):
            names = sorted({path.rpartition(".")[2] for path in paths})
            near = difflib.get_close_matches(target, names, n=1)
            question = f" did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"learner.lora.target_modules={list(targets)}: model.source={model.source!r} has no linear layer "
                f"{target!r} below its head:{question} choose from {', '.join(names)}, or all-linear"
            )


def linear_layers(model: ModelConfig) -> list[str] | None:
    """The paths of the linear layers in the model's blocks; None where they are not known here."""
    if model.source in MADE_HERE:
        return [f"layers.0.{name}" for name in LLAMA_LAYERS]
    if (settings := described(model)) is None or settings.get("model_type") not in PACKED_FAMILIES:
        return None
    files = [file for name in _names_of_files(model) if (file := file_of(model, name)) is not None]
    tensors = [(name, tensor) for file in files for name, tensor in _header(file).items() if name != "__metadata__"]
    paths = [name.removesuffix(".weight") for name, tensor in tensors if len(tensor["shape"]) == MATRIX]
    return [path for path in paths if any(part.isdigit() for part in path.split("."))] or None


def _names_of_files(model: ModelConfig) -> list[str]:
    index = file_of(model, INDEX)
    return [WEIGHTS] if index is None else sorted(set(json.loads(index.read_text())["weight_map"].values()))


def _header(file: Path) -> dict[str, Any]:
    """The names and shapes of a safetensors file. Raises ConfigError for a file that is broken."""
    with file.open("rb") as weights:
        length = int.from_bytes(weights.read(LENGTH_BYTES), "little")
        try:
            return json.loads(weights.read(length))
        except (ValueError, MemoryError, OverflowError) as error:
            raise ConfigError(f"{file} is no safetensors file ({error}): copy it anew") from error
