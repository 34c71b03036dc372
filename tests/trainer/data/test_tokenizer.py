"""A tokenizer is of the class that AutoTokenizer chooses, and the known ones come without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from trainer.config.tiny import TinySpec
from trainer.data.tokenizer import load_tokenizer
from trainer.setup.models import build_tiny

CORPUS = ["Goal: craft 2 oak planks.", "get 3 hemp", "Got 3 hemp ünd\n\n17"]
SPEC = TinySpec(hidden_size=64, intermediate_size=64, layers=1, kv_heads=1, vocab_size=300, context=64)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(CORPUS, SPEC, tmp_path_factory.mktemp("cache"))


def with_names(folder: Path, copy: Path, *, model: str, tokenizer: str | None) -> Path:
    """A copy of the folder whose files name these types."""
    shutil.copytree(folder, copy)
    for file, key, value in (
        ("config.json", "model_type", model),
        ("tokenizer_config.json", "tokenizer_class", tokenizer),
    ):
        content = json.loads((copy / file).read_text()) | {key: value}
        (copy / file).write_text(json.dumps({name: one for name, one in content.items() if one is not None}))
    return copy


@pytest.mark.parametrize(
    ("model", "tokenizer"),
    [
        *(("qwen2", name) for name in ("TokenizersBackend", "Qwen2Tokenizer", "Qwen2TokenizerFast")),
        *(("qwen2", name) for name in (None, "PreTrainedTokenizerFast", "LlamaTokenizerFast")),
        *(("llama", name) for name in ("TokenizersBackend", "PreTrainedTokenizerFast")),
    ],
)
def test_the_class_and_the_ids_are_those_of_autotokenizer(
    tiny: Path, tmp_path: Path, model: str, tokenizer: str | None
) -> None:
    folder = with_names(tiny, tmp_path / "model", model=model, tokenizer=tokenizer)
    ours, theirs = load_tokenizer(str(folder)), AutoTokenizer.from_pretrained(folder)
    assert type(ours) is type(theirs)
    assert ours.chat_template == theirs.chat_template
    assert ours.added_tokens_encoder == theirs.added_tokens_encoder
    assert [ours.encode(text) for text in CORPUS] == [theirs.encode(text) for text in CORPUS]


def test_a_tiny_policys_tokenizer_and_the_loop_are_loaded_without_torch_and_wandb(tiny: Path) -> None:
    code = (
        "import sys, trainer.run; from trainer.data.codec import ChatCodec; "
        f"ChatCodec({str(tiny)!r}); print(sorted({{'torch', 'wandb', 'vllm', 'deepspeed'}} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
