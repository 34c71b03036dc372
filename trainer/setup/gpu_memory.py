"""What a learner rank and an engine take of a GPU, in bytes: arithmetic from a model's shape, no measurement.

P = parameters, A = those that are trained (all, or a LoRA adapter's), W = learner ranks, T = tokens of a micro-batch,
D = width, M = width of the MLP, L = blocks, V = words of the vocabulary. Weights are bfloat16, optimizer states
float32, as DeepSpeed keeps them.
"""

from dataclasses import dataclass, replace

from rollout.transfer import Way
from trainer.config.shape import ModelShape

GIB = 2**30
BUCKET_BYTES = 2 * 500_000_000
"""One communication bucket of DeepSpeed, in bfloat16; in float32 it takes twice as much."""
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
    """The loss has a KL term to a frozen reference policy, which stands beside a policy without an adapter."""
    adapter_rank: int | None = None
    """Rank of a LoRA adapter on all linear layers; None trains all weights."""
    twin: bool = False
    """A copy of the policy is trained beside it, for a scorer."""

    @property
    def models(self) -> int:
        """The policy, and its twin."""
        return 2 if self.twin else 1

    @property
    def shards(self) -> int:
        """Parts that the optimizer's states are split into."""
        return self.ranks if self.zero_stage else 1

    def trained(self, shape: ModelShape) -> int:
        """A, the parameters of one model that have gradients and optimizer states."""
        return shape.parameters if self.adapter_rank is None else shape.adapter_parameters(self.adapter_rank)

    def weights(self, shape: ModelShape) -> int:
        """Parameters of the policy, its twin and, where it is a model of its own, of the reference."""
        if self.adapter_rank is not None:
            return self.models * (shape.parameters + self.trained(shape))
        return shape.parameters * (self.models + (1 if self.reference else 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How an engine serves, as far as its memory depends on it."""

    tensor_parallel: int
    """GPUs that one engine spans."""
    kv_cache_bytes: int
    """Memory of its KV cache, on each of its GPUs."""


def learner_idle(shape: ModelShape, training: Training) -> int:
    """What a rank holds between two updates.

    stages 0 and 1    2P weights + 4A gradients (float32, never sharded) + 12A/W states + 2P reference
    stage 2           2P + 12A/W + 2P
    stage 3           (4P + 16A)/W with a reference, (2P + 16A)/W without, and a bucket in float32

    Without an adapter A = P. An adapter's own weights add 2A, and it needs no reference beside it. A twin takes as much
    as the policy once more. Stage 3 keeps the buffers that gradients come into between steps.
    """
    weights = 2 * training.weights(shape)
    trained = training.models * training.trained(shape)
    states = 12 * trained
    if training.zero_stage == 3:
        divided = (weights + states + 4 * trained) // training.ranks
        return CONTEXT_BYTES + divided + training.models * _two_buckets(training.trained(shape))
    gradients = 4 * trained if training.zero_stage <= 1 else 0
    return CONTEXT_BYTES + weights + gradients + states // training.shards


def learner_peak(shape: ModelShape, training: Training) -> int:
    """The most that a rank holds: at the optimizer step or in the backward pass, taken together.

    On top of `learner_idle` come the activations and the head. Stages 2 and 3 add a flat copy of the gradients for the
    optimizer, 4A/W; stage 2 the gradients themselves and two buckets; stage 3 a copy of its bucket and the gathered
    weights. At stages 0 and 1 each bfloat16 gradient is freed as it joins the float32 sum.
    """
    trained = training.trained(shape)
    copies = {2: 2, 3: 1}.get(training.zero_stage, 0)
    step = copies * 4 * trained // training.ranks
    if training.zero_stage >= 2:
        step += _two_buckets(trained)
    if training.zero_stage == 3:
        step += min(LIVE_BYTES, 2 * shape.parameters)
    return learner_idle(shape, training) + step + activations(shape, training) + head(shape, training)


def learner_start(shape: ModelShape, training: Training) -> int:
    """The most that a rank holds while it loads: each model is whole on the GPU before ZeRO-3 divides it, 2P."""
    if training.zero_stage < 3:
        return learner_idle(shape, training)
    whole, alone = 2 * shape.parameters, replace(training, reference=False, twin=False)
    beside = learner_idle(shape, alone) if training.weights(shape) > alone.weights(shape) else CONTEXT_BYTES
    return beside + whole


def _two_buckets(trained: int) -> int:
    """Two buckets in bfloat16, or one in float32."""
    return 2 * min(BUCKET_BYTES, 2 * trained)


def activations(shape: ModelShape, training: Training) -> int:
    """Activations of one micro-batch: (31 D + 8 M) bytes a token and block, of one block only with checkpointing.

    31 D: inputs and float32 copies of two norms, queries, keys, values, the attention's output. 8 M: gate, up, their
    activation and product. With checkpointing each block keeps its input, 2 D. An adapter of rank r keeps the products
    with A of seven layers, 14 r.
    """
    block = training.token_budget * (31 * shape.hidden + 8 * shape.mlp + 14 * (training.adapter_rank or 0))
    if not training.checkpointing:
        return shape.layers * block
    return shape.layers * training.token_budget * 2 * shape.hidden + block


def head(shape: ModelShape, training: Training) -> int:
    """Logits of one chunk, and 10 V D of the head's gradient: its float32 sum, a chunk's part of it, its bfloat16.

    Beside an adapter the head is frozen and has no gradient.
    """
    return LOGITS_BYTES + (10 * shape.vocabulary * shape.hidden if training.adapter_rank is None else 0)


def engine_awake(shape: ModelShape, serving: Serving) -> int:
    """What an engine takes of each of its GPUs while it serves."""
    return 2 * shape.parameters // serving.tensor_parallel + serving.kv_cache_bytes + ENGINE_BYTES


def kv_cache_bytes(shape: ModelShape, *, requests: int, context: int, block: int = 16, tensor_parallel: int = 1) -> int:
    """The KV cache on each GPU of an engine in which `requests` responses of the longest context find room at once.

    block: tokens of one block of vLLM's cache. A request takes whole blocks, and vLLM keeps one block for itself.
    tensor_parallel: GPUs of the engine, which share the KV heads. Those above the number of heads hold copies.
    """
    room = (requests * -(-context // block) + 1) * block * shape.kv_bytes_per_token
    return -(-room // min(tensor_parallel, shape.kv_heads))


def checkpoint_bytes(shape: ModelShape, training: Training) -> int:
    """What a resume needs, on disk: the trained weights and their float32 states."""
    return 14 * training.models * training.trained(shape)


def export_bytes(shape: ModelShape, training: Training) -> int:
    """The model as a Hugging Face folder, and an adapter by itself."""
    return 2 * shape.parameters + (0 if training.adapter_rank is None else 2 * training.trained(shape))


def shared_memory_bytes(shape: ModelShape, way: Way) -> int:
    """Weights on their way to the engines. A new file is written before the old one goes; on GPUs they need none."""
    copies = {"file": 2, "shm": 1, "ipc": 0, "nccl": 0}[way]
    return copies * 2 * shape.parameters


def host_bytes(shape: ModelShape, training: Training, way: Way) -> int:
    """Host memory for the weights in shared memory, and at the start or while a checkpoint is written.

    At the start every rank loads policy and reference. A checkpoint is copied into pinned memory, which torch takes in
    powers of two: at most twice its size.
    """
    start = training.ranks * 2 * training.weights(shape)
    copies = 2 * checkpoint_bytes(shape, training) + export_bytes(shape, training)
    return max(start, copies) + shared_memory_bytes(shape, way)
