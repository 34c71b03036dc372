"""Everything a run is told, as frozen types; ranges and pairs that do not go together are refused here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rollout.collect import RolloutConfig
from rollout.engines import EngineConfig
from rollout.types import Sampling
from trainer.learner_config import Device, LearnerConfig, Precision
from trainer.tiny import TinySpec
from trainer.typed import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """source: "tiny", "smollm2_135m", a Hugging Face id or a folder. prompt_tokens + response_tokens is the context.

    cache: where made and converted models are kept.
    """

    source: str
    prompt_tokens: int
    response_tokens: int
    cache: str = ".cache/models"
    tiny: TinySpec = field(default_factory=TinySpec)

    def __post_init__(self) -> None:
        _positive(self, "model", "prompt_tokens", "response_tokens")
        if self.source == "tiny" and self.context > self.tiny.context:
            raise ConfigError(
                f"model.prompt_tokens={self.prompt_tokens} + model.response_tokens={self.response_tokens} is longer "
                f"than the model's context of {self.tiny.context}: lower one of them or raise model.tiny.context"
            )

    @property
    def context(self) -> int:
        return self.prompt_tokens + self.response_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvConfig:
    """world and options as for `envs.make`; style of the prompts; history: past turns shown."""

    world: str
    options: Mapping[str, Any] = field(default_factory=dict)
    style: str = "react"
    history: int = 2
    train_split: str = "train"
    validation_split: str = "test"

    def __post_init__(self) -> None:
        if self.history < 0:
            raise ConfigError(f"env.history={self.history} is negative: 0 shows no past turn")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """What machines give. Engine and learner take their device, number and precision from here.

    gpus: needed in all. engines, ranks: vLLM engines and learner ranks; engine_gpus and rank_gpus: Ray's share of a
    GPU for each; sleep: engines give their memory to the learner while it works. threads: of an engine or a rank on a
    CPU. env_workers: processes. address: of a running Ray cluster, or None to start one here. cpus: Ray's count, or
    None for all of this machine.
    """

    device: Device = "cpu"
    dtype: Precision = "float32"
    gpus: int = 0
    engines: int = 1
    ranks: int = 1
    engine_gpus: float = 0.0
    rank_gpus: float = 0.0
    sleep: bool = False
    threads: int = 2
    cpus: int | None = None
    env_workers: int = 2
    address: str | None = None
    object_store_bytes: int = 2**29

    def __post_init__(self) -> None:
        _positive(self, "cluster", "engines", "ranks", "threads", "env_workers", "object_store_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationConfig:
    """every: updates between validations; tasks: how many distinct ones, the whole split if it has fewer."""

    every: int = 5
    tasks: int = 128
    temperature: float = 0.4

    def __post_init__(self) -> None:
        _positive(self, "validation", "every", "tasks")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """every: updates between checkpoints; keep: how many of the newest stay."""

    every: int = 25
    keep: int = 2

    def __post_init__(self) -> None:
        _positive(self, "checkpoint", "every", "keep")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """tensorboard on or off; wandb: "auto" is online when logged in, else offline."""

    tensorboard: bool = True
    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "stepcredit"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run."""

    output: str
    model: ModelConfig
    env: EnvConfig
    estimator: Mapping[str, Any]
    learner: LearnerConfig
    engine: EngineConfig
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    rollout: RolloutConfig
    sampling: Sampling
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    seed: int = 0
    updates: int = 150
    groups_per_update: int = 16
    group_size: int = 8
    resume: Literal["never", "auto"] = "never"
    deterministic: bool = False
    record: Literal["none", "rollouts", "embeddings"] = "none"

    def __post_init__(self) -> None:
        _positive(self, "", "updates", "groups_per_update", "group_size")
        if "name" not in self.estimator:
            raise ConfigError("estimator.name is not set: choose one with estimator=gigpo")
        if self.learner.device != self.engine.device:
            raise ConfigError(
                f"learner.device={self.learner.device!r} but engine.device={self.engine.device!r}: take a cluster "
                "preset that sets both, such as cluster=cpu"
            )
        if self.sampling.temperature != self.learner.temperature:
            raise ConfigError(
                f"sampling.temperature={self.sampling.temperature} but learner.temperature={self.learner.temperature}: "
                "log-probs of another distribution than was sampled from; set both alike"
            )

    @property
    def validation_sampling(self) -> Sampling:
        return Sampling(temperature=self.validation.temperature, max_tokens=self.sampling.max_tokens)


def _positive(config: Any, group: str, *names: str) -> None:
    for name in names:
        if (value := getattr(config, name)) < 1:
            raise ConfigError(f"{group + '.' if group else ''}{name}={value}: choose 1 or more")
