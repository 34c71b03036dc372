"""The size of a policy made from nothing; light to import, for configs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TinySpec:
    """A Qwen2 policy small enough to train in minutes on two cores. Heads are `hidden_size / 64`."""

    hidden_size: int = 256
    intermediate_size: int = 768
    layers: int = 4
    kv_heads: int = 2
    vocab_size: int = 1024
    context: int = 1024
    seed: int = 0
