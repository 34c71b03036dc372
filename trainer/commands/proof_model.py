"""A model with random weights, of any shape, for the proof that a GPU runs all of this."""

from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from rollout.types import Device
from trainer.config.shape import ModelShape
from trainer.config.tiny import TinySpec
from trainer.setup.models import SPECIAL_TOKENS, train_tokenizer

CORPUS = tuple(f"craft {number} planks using {number} logs\nGoal: craft planks." for number in range(50))
CONTEXT = 4096


def write_model(shape: ModelShape, folder: Path, device: Device) -> None:
    """Write a Qwen2 of this shape as a Hugging Face folder, in bfloat16. Its tokenizer knows a few hundred words."""
    tokenizer = train_tokenizer(CORPUS, TinySpec())
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=shape.tied,
        eos_token_id=SPECIAL_TOKENS.index("<|end|>"),
        pad_token_id=SPECIAL_TOKENS.index("<|pad|>"),
        bos_token_id=None,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2ForCausalLM(config)
    model.to(torch.bfloat16)  # pyright: ignore[reportArgumentType]  transformers hides nn.Module.to
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
