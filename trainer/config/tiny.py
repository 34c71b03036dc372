"""The size of a tiny policy with random weights. Configs import this, so it imports nothing heavy."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, MultipleOf, doc

from trainer.config.shape import ModelShape

HEAD_SIZE = 64
SMALLEST_VOCABULARY = 259  # all bytes and three special tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TinySpec:
    """The size of a Qwen2 policy that trains in minutes on two cores. It is read where model.source=tiny."""

    hidden_size: Annotated[int, Ge(HEAD_SIZE), MultipleOf(HEAD_SIZE), doc(f"a multiple of {HEAD_SIZE}")] = 192
    """Width of the residual stream, a multiple of 64. The policy has hidden_size / 64 attention heads."""

    intermediate_size: Annotated[int, Ge(1)] = 512
    """Width of the hidden layer in each MLP."""

    layers: Annotated[int, Ge(1)] = 4
    """Number of transformer layers."""

    kv_heads: Annotated[int, Ge(1)] = 3
    """Key and value heads. Their number divides that of the attention heads."""

    vocab_size: Annotated[int, Ge(SMALLEST_VOCABULARY), doc(f"{SMALLEST_VOCABULARY} (every byte) or more")] = 1024
    """Most tokens of the tokenizer, which is trained on the world's own text."""

    context: Annotated[int, Ge(1)] = 1024
    """Longest prompt and response together, in tokens."""

    seed: int = 0
    """Seed of the random weights."""

    def __post_init__(self) -> None:
        heads = self.hidden_size // HEAD_SIZE
        if heads % self.kv_heads:
            raise ValueError(
                f"model.tiny.kv_heads={self.kv_heads} with model.tiny.hidden_size={self.hidden_size}: choose a divisor "
                f"of the {heads} heads"
            )

    def shape(self, vocabulary: int) -> ModelShape:
        """The shape of the policy with a vocabulary of this size."""
        return ModelShape(
            hidden=self.hidden_size,
            layers=self.layers,
            heads=self.hidden_size // HEAD_SIZE,
            kv_heads=self.kv_heads,
            mlp=self.intermediate_size,
            vocabulary=vocabulary,
            tied=True,
            qkv_bias=True,
        )
