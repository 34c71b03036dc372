"""The size of a policy made from nothing; light to import, for configs."""

from dataclasses import dataclass

from rollout.ranges import refuse_outside

HEAD_SIZE = 64
SMALLEST_VOCABULARY = 259  # all bytes and three special tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TinySpec:
    """A Qwen2 policy small enough to train in minutes on two cores. Heads are `hidden_size / 64`.

    Raises ValueError outside the ranges.
    """

    hidden_size: int = 192
    intermediate_size: int = 512
    layers: int = 4
    kv_heads: int = 3
    vocab_size: int = 1024
    context: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        heads, rest = divmod(self.hidden_size, HEAD_SIZE)
        checks = (
            ("hidden_size", heads >= 1 and rest == 0, f"a multiple of {HEAD_SIZE}"),
            ("intermediate_size", self.intermediate_size >= 1, "1 or more"),
            ("layers", self.layers >= 1, "1 or more"),
            ("kv_heads", self.kv_heads >= 1 and heads % self.kv_heads == 0, f"a divisor of the {heads} heads"),
            ("vocab_size", self.vocab_size >= SMALLEST_VOCABULARY, f"{SMALLEST_VOCABULARY} (every byte) or more"),
            ("context", self.context >= 1, "1 or more"),
        )
        refuse_outside(self, "model.tiny", checks)
