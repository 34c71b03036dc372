"""Positions that a model rotates otherwise in longer sequences: its log-probs would depend on what is packed beside."""

from collections.abc import Mapping
from typing import Any

from trainer.config.build import ConfigError
from trainer.config.settings import ModelConfig
from trainer.setup.shapes import described

BY_LENGTH = frozenset({"longrope", "dynamic"})
"""Rotary embeddings whose frequencies transformers chooses by the longest sequence of a pass, for all of them, and vLLM
by the longest that it may serve."""


def check_positions(model: ModelConfig) -> None:
    """Raise ConfigError where sequences of this run may be longer than such frequencies hold for.

    A model that is not on this machine is not known yet.
    """
    known = described(model)
    longest = None if known is None else _longest(known)
    if longest is not None and model.context > longest:
        raise ConfigError(
            f"model.prompt_tokens={model.prompt_tokens} + model.response_tokens={model.response_tokens} is longer than "
            f"the {longest} tokens up to which this model's positions do not depend on the sequences beside: lower "
            "model.prompt_tokens"
        )


def _longest(known: Mapping[str, Any]) -> int | None:
    """How long a sequence may be; None for a model whose positions depend on nothing but themselves."""
    rope = known.get("rope_parameters") or known.get("rope_scaling") or {}
    if (rope.get("rope_type") or rope.get("type")) not in BY_LENGTH:
        return None
    name = "original_max_position_embeddings"
    return rope.get(name) or known.get(name) or known.get("max_position_embeddings")
