"""Load a model's tokenizer, without torch where the class of the tokenizer is known."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer
from transformers.utils.hub import cached_file

QWEN2 = frozenset({Qwen2Tokenizer.__name__, "Qwen2TokenizerFast", "TokenizersBackend"})
"""The classes that a Qwen2 model's files name and for which transformers takes its own."""


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a Hugging Face folder or id, of the class that AutoTokenizer chooses.

    To import AutoTokenizer is to import torch, 3 s of processor time before anything of a run starts.
    """
    named = model_json(model, "tokenizer_config.json")
    if model_json(model, "config.json").get("model_type") == "qwen2" and named.get("tokenizer_class") in QWEN2:
        return Qwen2Tokenizer.from_pretrained(model)
    return import_module("transformers").AutoTokenizer.from_pretrained(model)


def model_json(model: str, name: str) -> dict[str, Any]:
    """What one of the model's files says; empty where there is none. model: a Hugging Face folder or id."""
    file = cached_file(model, name, _raise_exceptions_for_missing_entries=False)
    return {} if file is None else json.loads(Path(file).read_text())
