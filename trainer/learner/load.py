"""Load a policy from a Hugging Face folder, without the randomness that some models have while they train."""

from collections.abc import Iterator

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

NOISE = ("drop", "jitter")
"""In the names of settings that make a forward pass random in training mode, such as dropout and router jitter."""

transformers_logging.disable_progress_bar()


def load_model(folder: str, dtype: torch.dtype) -> PreTrainedModel:
    """The model of a local folder, in evaluation mode, with every dropout at 0.

    Scores are taken in evaluation mode, gradients in training mode, which gradient checkpointing needs. With dropout
    these would be two distributions, and the first probability ratio would not be 1.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    _silence(config)
    capped = any(getattr(part, "attn_logit_softcapping", None) for part in _parts(config))
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        local_files_only=True,
        attn_implementation="eager" if capped else None,  # SDPA passes over the cap of Gemma 2's attention
    )
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model


def _silence(config: PretrainedConfig) -> None:
    for part in _parts(config):
        for name, value in list(vars(part).items()):
            if any(word in name for word in NOISE) and isinstance(value, int | float) and not isinstance(value, bool):
                setattr(part, name, 0.0)


def _parts(config: PretrainedConfig) -> Iterator[PretrainedConfig]:
    """The config and the configs inside it, such as the text model's of a model with images."""
    yield config
    for value in vars(config).values():
        if isinstance(value, PretrainedConfig):
            yield from _parts(value)
