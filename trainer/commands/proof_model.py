"""A model with random weights, of any shape, for the proof that a GPU runs all of this."""

from pathlib import Path

import torch

from rollout.types import Device
from trainer.config.shape import ModelShape
from trainer.config.tiny import TinySpec
from trainer.setup.models import random_qwen2, train_tokenizer

CORPUS = tuple(f"craft {number} planks using {number} logs\nGoal: craft planks." for number in range(50))
CONTEXT = 4096


def write_model(shape: ModelShape, folder: Path, device: Device) -> None:
    """Write a Qwen2 of this shape as a Hugging Face folder, in bfloat16. Its tokenizer knows a few hundred words."""
    tokenizer = train_tokenizer(CORPUS, TinySpec())
    with torch.device(device):
        model = random_qwen2(shape, context=CONTEXT)
    model.to(torch.bfloat16)  # pyright: ignore[reportArgumentType]  transformers hides nn.Module.to
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
