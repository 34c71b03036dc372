"""A model with random weights, of any shape, for the proof that a GPU runs all of this."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

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


def exact_logprobs(folder: Path, rows: np.ndarray, responses: int, device: Device) -> np.ndarray:
    """Log-probs of the last `responses` tokens of each row in float32, from the model's own forward pass. [N, R]"""
    # TF32 would round the products to 11 bits, which is what this is held against.
    torch.backends.cuda.matmul.allow_tf32 = False
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.to(device)  # pyright: ignore[reportArgumentType]  transformers hides nn.Module.to
    parts: list[np.ndarray] = []
    with torch.inference_mode():
        for row in torch.from_numpy(rows.astype(np.int64)).to(device):
            logits = model(row[None], logits_to_keep=responses + 1).logits[0, :-1]
            parts.append(logits.log_softmax(-1).gather(1, row[-responses:, None])[:, 0].cpu().numpy())
    return np.stack(parts)
