"""What a learner rank and an engine take of a GPU, in bytes: arithmetic from a model's shape, no measurement.

P = parameters, W = learner ranks, T = tokens of a micro-batch, D = width, M = width of the MLP, L = blocks, V = words
of the vocabulary. Weights are bfloat16, optimizer states float32, as DeepSpeed keeps them.
"""

from dataclasses import dataclass

from trainer.config.shape import ModelShape

GIB = 2**30
BUCKET_BYTES = 2 * 500_000_000
"""One communication bucket of DeepSpeed, in bfloat16; stages 2 and 3 hold two."""
LIVE_BYTES = 2 * 1_000_000_000
"""Gathered weights that ZeRO-3 keeps alive at most, in bfloat16."""
LOGITS_BYTES = 3 * 4 * 2**28
"""Three tables of a chunk of the head's logits, in float32: see `trainer.learner.head`."""
CONTEXT_BYTES = GIB
"""CUDA's context and NCCL's buffers in a rank's process."""
ENGINE_BYTES = int(3.5 * GIB)
"""CUDA's context, graphs and activations of an engine that is awake."""
ASLEEP_BYTES = 3 * GIB
"""What an engine keeps that sleeps: context, graphs, fragments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a learner trains, as far as its memory depends on it."""

    ranks: int
    """W, one GPU each."""
    zero_stage: int
    """0 to 3."""
    token_budget: int
    """T, cells of a micro-batch."""
    checkpointing: bool
    """Activations are computed again in the backward pass."""
    reference: bool
    """A frozen reference policy for the KL term stands beside the policy."""

    @property
    def shards(self) -> int:
        """Parts that the optimizer's states are split into."""
        return self.ranks if self.zero_stage else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How an engine serves, as far as its memory depends on it."""

    tensor_parallel: int
    """GPUs that one engine spans."""
    kv_cache_bytes: int
    """Memory of its KV cache, over all its GPUs."""


def learner_idle(shape: ModelShape, training: Training) -> int:
    """What a rank holds between two updates.

    stages 0 and 1    2P weights + 4P gradients (float32, never sharded) + 12P/W states + 2P reference
    stage 2           2P + 12P/W + 2P
    stage 3           16P/W with a reference, 14P/W without
    """
    weights = 2 * shape.parameters * (2 if training.reference else 1)
    states = 12 * shape.parameters
    if training.zero_stage == 3:
        return CONTEXT_BYTES + (weights + states) // training.ranks
    gradients = 4 * shape.parameters if training.zero_stage <= 1 else 0
    return CONTEXT_BYTES + weights + gradients + states // training.shards


def learner_peak(shape: ModelShape, training: Training) -> int:
    """The most that a rank holds: at the optimizer step or in the backward pass, taken together.

    On top of `learner_idle` come the activations and the head. Stages 2 and 3 add the gradients of 4P/W, a flat copy of
    them for the optimizer, and two buckets; stage 3 also the gathered weights. At stages 0 and 1 each bfloat16 gradient
    is freed as it joins the float32 sum.
    """
    sharded = training.zero_stage >= 2
    gradients = 2 * 4 * shape.parameters // training.ranks if sharded else 0
    buckets = 2 * BUCKET_BYTES if sharded else 0
    live = min(LIVE_BYTES, 2 * shape.parameters) if training.zero_stage == 3 else 0
    step = gradients + buckets + live
    return learner_idle(shape, training) + step + activations(shape, training) + head(shape)


def activations(shape: ModelShape, training: Training) -> int:
    """Activations of one micro-batch: (31 D + 8 M) bytes a token and block, of one block only with checkpointing.

    31 D: inputs and float32 copies of two norms, queries, keys, values, the attention's output. 8 M: gate, up, their
    activation and product. With checkpointing each block keeps its input, 2 D.
    """
    block = training.token_budget * (31 * shape.hidden + 8 * shape.mlp)
    if not training.checkpointing:
        return shape.layers * block
    return shape.layers * training.token_budget * 2 * shape.hidden + block


def head(shape: ModelShape) -> int:
    """Logits of one chunk, and 10 V D of the head's gradient: its float32 sum, a chunk's part of it, its bfloat16."""
    return LOGITS_BYTES + 10 * shape.vocabulary * shape.hidden


def engine_awake(shape: ModelShape, serving: Serving) -> int:
    """What an engine takes of each of its GPUs while it serves."""
    return (2 * shape.parameters + serving.kv_cache_bytes) // serving.tensor_parallel + ENGINE_BYTES


def kv_cache_bytes(shape: ModelShape, *, requests: int, context: int) -> int:
    """The KV cache in which `requests` responses of the longest context find room at once."""
    return requests * context * shape.kv_bytes_per_token


def checkpoint_bytes(shape: ModelShape) -> int:
    """One checkpoint on disk: weights, float32 states, and the exported model."""
    return (2 + 12 + 2) * shape.parameters


def shared_memory_bytes(shape: ModelShape) -> int:
    """Weights on their way to the engines: the new file is written before the old one goes."""
    return 2 * 2 * shape.parameters


def host_bytes(shape: ModelShape, *, ranks: int, reference: bool) -> int:
    """Host memory at the start, when every rank loads policy and reference, and for the weights in shared memory."""
    loaded = 2 * shape.parameters * (2 if reference else 1)
    return ranks * loaded + shared_memory_bytes(shape)
