"""The shape of a decoder-only model: the few numbers from which its parameters and its memory follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from annotated_types import Ge

from trainer.config.build import ModelError

Size = Annotated[int, Ge(1)]
WITH_QKV_BIAS = ("qwen2",)  # model types whose query, key and value projections have a bias that config.json omits


class ShapeUnknown(ModelError):
    """A config.json that does not say what a plan needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A model like Llama or Qwen2: L blocks of attention and a gated MLP, an embedding and a head.

    >>> tiny = ModelShape(hidden=64, layers=2, heads=2, kv_heads=1, mlp=128, vocabulary=256, tied=True)
    >>> tiny.head_size, tiny.kv_bytes_per_token
    (32, 256)
    """

    hidden: Size
    """Width D of the residual stream."""

    layers: Size
    """Number L of blocks."""

    heads: Size
    """Query heads of a block."""

    kv_heads: Size
    """Key and value heads of a block."""

    mlp: Size
    """Width of the gated MLP."""

    vocabulary: Size
    """Rows of the embedding."""

    tied: bool = False
    """Whether the head is the embedding."""

    qkv_bias: bool = False
    """Whether the query, key and value projections have a bias."""

    head_dim: Annotated[int | None, Ge(1)] = None
    """Width of one head; null takes hidden / heads."""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """The shape that a config.json describes. Raises ModelError for one of another kind, such as a mixture."""
        if any("expert" in key and value for key, value in config.items()):
            raise ModelError(
                f"model_type={config.get('model_type')!r} is a mixture of experts, which cannot be planned"
            )
        try:
            heads = config["num_attention_heads"]
            return cls(
                hidden=config["hidden_size"],
                layers=config["num_hidden_layers"],
                heads=heads,
                kv_heads=config.get("num_key_value_heads", heads),
                mlp=config["intermediate_size"],
                vocabulary=config["vocab_size"],
                tied=config.get("tie_word_embeddings", False),
                qkv_bias=config.get("attention_bias", config.get("model_type") in WITH_QKV_BIAS),
                head_dim=config.get("head_dim"),
            )
        except KeyError as error:
            raise ShapeUnknown(
                f"config.json has no {error}, which a plan needs: give the shape with model.shape"
            ) from error

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.head_dim or self.hidden // self.heads

    @property
    def block_parameters(self) -> int:
        """Parameters of one block: attention, MLP, two norms."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        attention = 2 * self.hidden * queries + 2 * self.hidden * keys
        bias = queries + 2 * keys if self.qkv_bias else 0
        return attention + bias + 3 * self.hidden * self.mlp + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters P."""
        ends = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * self.block_parameters + ends + self.hidden

    def adapter_parameters(self, rank: int) -> int:
        """Parameters A of a LoRA adapter of this rank on all linear layers but the head: rank * (in + out) of each."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        attention = 2 * (self.hidden + queries) + 2 * (self.hidden + keys)
        return self.layers * rank * (attention + 3 * (self.hidden + self.mlp))

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values of one token, in bfloat16."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_size
