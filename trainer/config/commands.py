"""Everything a command is told, as frozen types; ranges and pairs that do not go together are refused here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from estimators.own import with_name
from rollout.collect import RolloutConfig
from rollout.engines import EngineConfig
from rollout.ranges import Check, refuse_outside
from rollout.revise import ReviseConfig
from rollout.types import Device, Precision, Sampling
from trainer.config.build import ConfigError
from trainer.config.learner import LearnerConfig
from trainer.config.tiny import TinySpec

SMALLEST_OBJECT_STORE = 75 * 2**20  # bytes; Ray starts with no less


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningConfig:
    """What suits a model: the commands' YAML hands it on by interpolation, so each reader can be told otherwise.

    learning_rate, gradient_checkpointing: the learner's; warmstart_learning_rate: on demonstrations. layer, eps: of
    BiPACE's clusters; see `estimators.bipace`.
    """

    learning_rate: float
    warmstart_learning_rate: float
    layer: int
    eps: float | Literal["auto"]
    gradient_checkpointing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """source: "tiny", "smollm2_135m", a Hugging Face id or a folder. prompt_tokens + response_tokens is the context.

    cache: where made and converted models are kept; None: `models/` in the user's cache folder, see `envs.cache`.
    """

    source: str
    prompt_tokens: int
    response_tokens: int
    tuning: TuningConfig
    cache: str | None = None
    tiny: TinySpec = field(default_factory=TinySpec)

    def __post_init__(self) -> None:
        _positive(self, "model", "prompt_tokens", "response_tokens")
        if self.source == "tiny" and self.context > self.tiny.context:
            raise ConfigError(
                f"model.prompt_tokens={self.prompt_tokens} + model.response_tokens={self.response_tokens} is longer "
                f"than the model's context of {self.tiny.context}: lower one of them, or raise it with "
                "+model.tiny.context=..."
            )

    @property
    def context(self) -> int:
        return self.prompt_tokens + self.response_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvConfig:
    """world and options as for `envs.make`; style of the prompts; history: past turns shown.

    overlap: accept validation tasks that are trained on, to reproduce a published split that leaks.
    """

    world: str
    options: Mapping[str, Any] = field(default_factory=dict)
    style: str = "react"
    history: int = 2
    train_split: str = "train"
    validation_split: str = "test"
    overlap: bool = False

    def __post_init__(self) -> None:
        _refuse(self, "env", ("history", self.history >= 0, "0 (no past turn) or more"))
        if self.style.startswith("bare") and self.history == 0:
            raise ConfigError(
                f"env.history=0 with env.style={self.style!r}, which shows what is seen now as the answer to the last "
                "turn: set env.history=1 or more, or env.style=react"
            )


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
        _positive(self, "cluster", "engines", "ranks", "threads", "env_workers")
        _refuse(
            self,
            "cluster",
            ("gpus", self.gpus >= 0, "0 or more"),
            ("engine_gpus", self.engine_gpus >= 0, "0 or more"),
            ("rank_gpus", self.rank_gpus >= 0, "0 or more"),
            ("cpus", self.cpus is None or self.cpus >= 1, "1 or more, or null for all of this machine"),
            (
                "object_store_bytes",
                self.object_store_bytes >= SMALLEST_OBJECT_STORE,
                f"{SMALLEST_OBJECT_STORE} or more",
            ),
        )
        if (self.device == "cuda") != (self.gpus > 0):
            raise ConfigError(
                f"cluster.device={self.device!r} with cluster.gpus={self.gpus}: take a preset that sets both, such as "
                "cluster=cpu or cluster=gpu1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationConfig:
    """every: updates between validations; tasks: how many distinct ones, the whole split if it has fewer."""

    every: int = 5
    tasks: int = 128
    temperature: float = 0.4

    def __post_init__(self) -> None:
        _positive(self, "validation", "every", "tasks")
        _refuse(self, "validation", ("temperature", self.temperature >= 0, "0 (greedy) or more"))


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
    """One training run. revise: for an estimator that asks for revisions, IBPO's.

    estimator: name and options, see `estimators.build`; a `_target_` without a name is called by its last part.
    patience: training rollouts are given up after so many turns in a row that left the state as it was (None: never);
    validation plays every episode to its end.
    """

    output: str
    model: ModelConfig
    env: EnvConfig
    estimator: Mapping[str, Any]
    learner: LearnerConfig
    engine: EngineConfig
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    rollout: RolloutConfig
    sampling: Sampling
    revise: ReviseConfig
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    seed: int = 0
    updates: int = 150
    groups_per_update: int = 16
    group_size: int = 8
    patience: int | None = None
    resume: Literal["never", "auto"] = "never"
    deterministic: bool = False
    record: Literal["none", "rollouts", "embeddings"] = "none"

    def __post_init__(self) -> None:
        _positive(self, "", "updates", "groups_per_update", "group_size")
        _check_seed(self)
        _refuse(self, "", ("patience", self.patience is None or self.patience > 0, "1 or more, or null for no limit"))
        object.__setattr__(self, "estimator", with_name(self.estimator))
        if "name" not in self.estimator:
            raise ConfigError("estimator.name is not set: choose one with estimator=gigpo")
        _check_play(self.model, self.env, self.rollout, self.sampling)
        _check_same_distribution(self.sampling, self.learner)
        if self.learner.device != self.engine.device:
            raise ConfigError(
                f"learner.device={self.learner.device!r} but engine.device={self.engine.device!r}: take a cluster "
                "preset that sets both, such as cluster=cpu"
            )
        if self.learner.optimizer_steps > self.groups_per_update * self.group_size:
            raise ConfigError(
                f"learner.optimizer_steps={self.learner.optimizer_steps} with groups_per_update="
                f"{self.groups_per_update} x group_size={self.group_size}: an optimizer step needs a rollout of its "
                "own; lower the steps, or ask for more rollouts"
            )
        learner, steps = self.learner, self.updates * self.learner.optimizer_steps
        if learner.decay_steps is not None and learner.warmup_steps + learner.decay_steps < steps:
            raise ConfigError(
                f"learner.decay_steps={learner.decay_steps} after learner.warmup_steps={learner.warmup_steps}, but the "
                f"run takes {steps} optimizer steps: its rate would end at 0; raise it, or null for a constant rate"
            )

    @property
    def validation_sampling(self) -> Sampling:
        return Sampling(temperature=self.validation.temperature, max_tokens=self.sampling.max_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """endpoint: URL of an OpenAI-compatible server, asked for model.source; None serves model.source here.

    tasks: how many distinct ones of env.validation_split; None: all. An endpoint's key is read from OPENAI_API_KEY.
    """

    output: str
    model: ModelConfig
    env: EnvConfig
    engine: EngineConfig
    cluster: ClusterConfig
    rollout: RolloutConfig
    sampling: Sampling
    endpoint: str | None = None
    endpoint_concurrency: int = 32
    tasks: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _positive(self, "", "endpoint_concurrency")
        _check_tasks(self)
        _check_seed(self)
        _check_play(self.model, self.env, self.rollout, self.sampling)
        url = self.endpoint is None or self.endpoint.startswith(("http://", "https://"))
        _refuse(self, "", ("endpoint", url, "a URL, such as http://localhost:8000/v1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DemosConfig:
    """Where demonstrations go: `passes` over the training tasks, each pass with its own seeds.

    mistakes: probability of a mistake before each of the expert's actions; the expert goes on from what comes of it.
    """

    output: str
    env: EnvConfig
    tasks: int | None = None
    passes: int = 1
    mistakes: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        _positive(self, "", "passes")
        _check_mistakes(self, "")
        _check_tasks(self)
        _check_seed(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmstartConfig:
    """demos: a file of `stepcredit demos`, the same in every epoch; None plays the expert anew for each.

    passes: how often an epoch plays each training task, with its own seed each time; tasks: how many of them, None:
    all. mistakes: probability of one before each of the expert's actions; a policy sees them and what comes of them,
    and learns the expert's actions only. rows_per_step: agent steps per optimizer step.
    """

    output: str
    model: ModelConfig
    env: EnvConfig
    learner: LearnerConfig
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    demos: str | None = None
    tasks: int | None = None
    passes: int = 1
    mistakes: float = 0.0
    epochs: int = 1
    rows_per_step: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        _positive(self, "", "passes", "epochs", "rows_per_step")
        _check_mistakes(self, "")
        _check_tasks(self)
        _check_seed(self)
        if self.demos is not None and (self.tasks, self.passes, self.mistakes) != (None, 1, 0.0):
            raise ConfigError(
                f"demos={self.demos} is trained on as it is, so tasks={self.tasks}, passes={self.passes} and "
                f"mistakes={self.mistakes} would do nothing: leave them out, or leave demos out to play the expert anew"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the quickstart's warm start is done; see WarmstartConfig."""

    passes: int
    mistakes: float
    epochs: int
    rows_per_step: int
    learning_rate: float

    def __post_init__(self) -> None:
        _positive(self, "warmstart", "passes", "epochs", "rows_per_step")
        _check_mistakes(self, "warmstart")
        _refuse(self, "warmstart", ("learning_rate", self.learning_rate > 0, "a value above 0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickstartConfig(TrainConfig):
    """A training run with a warm start before it."""

    warmstart: Recipe


def _refuse(config: Any, group: str, *checks: Check) -> None:
    try:
        refuse_outside(config, group, checks)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_mistakes(config: Any, group: str) -> None:
    _refuse(config, group, ("mistakes", 0.0 <= config.mistakes < 1.0, "a probability in [0, 1)"))


def _positive(config: Any, group: str, *names: str) -> None:
    _refuse(config, group, *((name, getattr(config, name) >= 1, "1 or more") for name in names))


def _check_tasks(config: Any) -> None:
    _refuse(config, "", ("tasks", config.tasks is None or config.tasks >= 1, "1 or more, or null for all"))


def _check_seed(config: Any) -> None:
    _refuse(config, "", ("seed", config.seed >= 0, "0 or more"))


def _check_play(model: ModelConfig, env: EnvConfig, rollout: RolloutConfig, sampling: Sampling) -> None:
    """What a rollout is told in two places must be the same."""
    if sampling.max_tokens > model.response_tokens:
        raise ConfigError(
            f"sampling.max_tokens={sampling.max_tokens} is more than model.response_tokens={model.response_tokens}, "
            "the room that a prompt leaves: lower the one or raise the other"
        )
    if env.history != rollout.history:
        raise ConfigError(
            f"env.history={env.history} but rollout.history={rollout.history}: demonstrations follow the one and "
            "rollouts the other; set env.history alone"
        )


def _check_same_distribution(sampling: Sampling, learner: LearnerConfig) -> None:
    """The learner's log-probs are of the distribution that was sampled from."""
    if sampling.temperature != learner.temperature:
        raise ConfigError(
            f"sampling.temperature={sampling.temperature} but learner.temperature={learner.temperature}: log-probs of "
            "another distribution than was sampled from; set both alike"
        )
    if sampling.top_p != 1.0:
        raise ConfigError(
            f"sampling.top_p={sampling.top_p}: the learner's log-probs are of all tokens, not of those it keeps; "
            "train with sampling.top_p=1.0"
        )
