"""The config of each command. Settings that do not go together are refused here; `build` checks types and ranges."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Predicate, doc

from estimators.own import with_name
from rollout.collect import RolloutConfig
from rollout.endpoint_address import is_url
from rollout.endpoint_options import check_options
from rollout.endpoint_usage import EndpointPrices
from rollout.engines import EngineConfig
from rollout.marks import HARMLESS
from rollout.revise import PROMPT, ReviseConfig, check_prompt
from rollout.types import Sampling
from trainer.config.build import ConfigError
from trainer.config.derived import CLUSTER, ENGINE, LEARNER, PLAY, Follows, Unused
from trainer.config.learner import LearnerConfig
from trainer.config.protocol import ProtocolConfig
from trainer.config.settings import (
    CheckpointConfig,
    ClusterConfig,
    EnvConfig,
    LogConfig,
    ModelConfig,
    TaskCount,
    ValidationConfig,
)

Seed = Annotated[int, Ge(0)]
Count = Annotated[int, Ge(1)]
Mistakes = Annotated[float, Interval(ge=0, lt=1), doc("a probability in [0, 1)")]
Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run."""

    derived = MappingProxyType(
        {
            **CLUSTER,
            **ENGINE,
            **LEARNER,
            **PLAY,
            "learner.temperature": Follows(source="sampling.temperature"),
        }
    )

    output: str = field(metadata=HARMLESS)
    """Folder of the run: metrics, checkpoints and recorded rollouts; null makes outputs/train/DATE_TIME."""

    model: ModelConfig
    """The policy."""

    env: EnvConfig
    """The world that it acts in."""

    estimator: Mapping[str, Any]
    """Credit estimator: its name and its options. A `_target_` without a name is called by its last part."""

    scorer: Mapping[str, Any] = field(default_factory=lambda: {"_target_": None})
    """Who rewards steps besides the world: a scorer's name and its options, or the `_target_` of your own; without
    either, nobody."""

    learner: LearnerConfig
    """How the policy is trained."""

    engine: EngineConfig = field(metadata=HARMLESS)
    """The engines that generate responses."""

    cluster: ClusterConfig = field(default_factory=ClusterConfig, metadata=HARMLESS)
    """The machines."""

    rollout: RolloutConfig
    """How rollouts are played."""

    sampling: Sampling
    """How training rollouts sample tokens."""

    revise: ReviseConfig
    """How failed rollouts are revised, for an estimator that asks for it, such as IBPO, or retried (revise.mode)."""

    validation: ValidationConfig = field(default_factory=ValidationConfig, metadata=HARMLESS)
    """When the policy is measured, and on how many tasks."""

    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig, metadata=HARMLESS)
    """When the run is saved."""

    log: LogConfig = field(default_factory=LogConfig, metadata=HARMLESS)
    """Where metrics go besides `metrics.jsonl`."""

    protocol: ProtocolConfig | None = field(default=None, metadata=HARMLESS)
    """The published protocol that the settings are compared with; null compares with none."""

    seed: Seed = 0
    """Seed of all randomness of the run."""

    updates: Count = field(default=150, metadata=HARMLESS)
    """Training iterations. Each collects rollouts, computes advantages, trains and publishes the weights."""

    groups_per_update: Count = 16
    """Tasks of one update; each gives one group of rollouts."""

    group_size: Count = 8
    """Rollouts of one task. Estimators that compare the rollouts of a group need 2 or more."""

    task_choice: Literal["uniform", "difficulty"] = "uniform"
    """How an update's tasks are drawn. "uniform" plays every task once an epoch, as the papers do; "difficulty" prefers
    tasks that the policy solved about half the time so far, and tasks that it never played."""

    max_groups_tried: Annotated[int | None, Ge(1), doc("groups_per_update or more, or null")] = None
    """Dynamic sampling (DAPO 2503.14476): a group whose rollouts all earned the same is replaced by another task, until
    none is left or this many groups were played. null keeps every group, as the protocols of the papers here do."""

    ahead: Annotated[int, Interval(ge=0, le=1), doc("0 or 1")] = 0
    """Updates that rollouts are played ahead. With 1 the engines play the next update's rollouts while the learner
    works on this one's: they are of the policy one version before, for which loss.importance_cap corrects. The update
    after a checkpoint plays its own."""

    max_idle_turns: Annotated[int | None, Ge(1), doc("1 or more, or null for no limit")] = None
    """End a training rollout after this many turns in a row that left the state unchanged; null never does. To an
    estimator, their count is then part of the state. Validation plays every episode to its end."""

    resume: Literal["never", "auto"] = field(default="never", metadata=HARMLESS)
    """Whether to go on from the newest checkpoint in the output folder; "never" refuses a folder that holds a run."""

    deterministic: bool = False
    """Whether two runs of one seed give equal numbers, on CPUs. It costs time: requests go to the engine in fixed
    batches."""

    record: Literal["none", "rollouts", "embeddings"] = field(default="none", metadata=HARMLESS)
    """What each update leaves on disk: nothing, its rollouts, or its rollouts with the hidden states of all steps.

    The learner's log-probs lie beside the rollouts, where it scored them.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "estimator", with_name(self.estimator))
        if "name" not in self.estimator:
            raise ConfigError("estimator.name is not set: choose one with estimator=gigpo")
        _check_response_fits(self.model, self.sampling)
        _check_gpus(self.cluster, engines=self.engine, ranks=self.learner.world_size)
        self._check_distribution()
        self._check_optimizer_steps()
        self._check_ahead()
        if self.max_groups_tried is not None and self.max_groups_tried < self.groups_per_update:
            raise ConfigError(
                f"max_groups_tried={self.max_groups_tried} is below groups_per_update={self.groups_per_update}: raise "
                "it, or set max_groups_tried=null to keep every group"
            )
        if self.max_groups_tried is not None and self.group_size == 1:
            raise ConfigError(
                f"max_groups_tried={self.max_groups_tried} with group_size=1: groups whose returns are equal are "
                "replaced, as all of one rollout are; set max_groups_tried=null"
            )

    def _check_distribution(self) -> None:
        if self.sampling.top_p != 1.0:
            raise ConfigError(
                f"sampling.top_p={self.sampling.top_p}: the learner's log-probs are of all tokens, not of those it "
                "keeps; train with sampling.top_p=1.0"
            )

    def _check_ahead(self) -> None:
        if self.ahead and self.engine.sleep:
            raise ConfigError(
                "ahead=1 with engines that sleep while the learner works (cluster.sleep=true, or planned: engine "
                "and learner do not fit side by side): set cluster.placement=split, raise cluster.gpus, or set ahead=0"
            )
        if self.ahead and self.learner.loss.importance_cap is None:
            raise ConfigError(
                "ahead=1 with learner.loss.importance_cap=None, so nothing corrects for the older policy of the "
                "rollouts: set learner.loss.importance_cap=2, or ahead=0"
            )

    def _check_optimizer_steps(self) -> None:
        learner, rollouts = self.learner, self.groups_per_update * self.group_size
        if learner.optimizer_steps is None:
            return  # rows_per_step follows the rollouts, and has no decay
        if learner.optimizer_steps > rollouts:
            raise ConfigError(
                f"learner.optimizer_steps={learner.optimizer_steps} with groups_per_update={self.groups_per_update} x "
                f"group_size={self.group_size}: an optimizer step needs a rollout of its own; lower the steps, or ask "
                "for more rollouts"
            )
        steps = self.updates * learner.optimizer_steps
        if learner.decay_steps is not None and learner.warmup_steps + learner.decay_steps < steps:
            raise ConfigError(
                f"learner.decay_steps={learner.decay_steps} after learner.warmup_steps={learner.warmup_steps}, but the "
                f"run takes {steps} optimizer steps: its rate would end at 0; raise it, or null for a constant rate"
            )

    @property
    def validation_sampling(self) -> Sampling:
        """How validation samples tokens."""
        return Sampling(temperature=self.validation.temperature, max_tokens=self.sampling.max_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """One measurement on held-out tasks."""

    derived = MappingProxyType(
        {
            **CLUSTER,
            **ENGINE,
            **PLAY,
            "engine.sleep": Unused(value=False, reason="no learner shares the GPU"),
            "rollout.success_reward": Unused(value=10.0, reason="an evaluation pays no reward"),
            "rollout.graded": Unused(value=False, reason="an evaluation pays no reward"),
        }
    )

    output: str
    """Folder of the results; null makes outputs/evaluate/DATE_TIME."""

    model: ModelConfig
    """The policy."""

    env: EnvConfig
    """The world that it acts in."""

    engine: EngineConfig
    """The engines that generate responses. Read only if endpoint is null."""

    cluster: ClusterConfig
    """The machines."""

    rollout: RolloutConfig
    """How rollouts are played."""

    sampling: Sampling
    """How tokens are sampled."""

    endpoint: Annotated[str | None, Predicate(is_url), doc("a URL without a key: http://localhost:8000/v1")] = None
    """URL of an OpenAI-compatible server that serves model.source; null serves it here. The key is read from
    OPENAI_API_KEY."""

    endpoint_concurrency: Count = 32
    """Requests that the endpoint gets at once."""

    endpoint_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Parameters of the requests, for servers that know others than OpenAI. temperature, top_p, max_completion_tokens
    and seed are sent by themselves: give one of them the server's own name for it, or null to leave it out. All others
    are sent as they are. Such as {max_completion_tokens: max_tokens, seed: null, top_k: 20}."""

    endpoint_patience_s: Annotated[float, Interval(ge=0, lt=math.inf)] = 300.0
    """Seconds for which a request that the endpoint turns away (429, 5xx) or loses is sent again. After that its
    rollout counts as failed. If nothing was answered meanwhile, the evaluation stops; of requests that wait alone, the
    second in a row stops it."""

    endpoint_timeout_s: Annotated[float, Interval(gt=0, lt=math.inf)] = 600.0
    """Seconds after which a request without an answer counts as lost."""

    endpoint_prices: EndpointPrices | None = None
    """What the endpoint charges, in USD for a million tokens, such as {input: 0.15, output: 0.6}; null tells no
    cost."""

    tasks: TaskCount = None
    """Number of different tasks of env.validation_split; null plays all."""

    samples: Count = 1
    """Rollouts of each task, each with a sampling seed of its own; from 2 on pass@k is told. A continuation may raise
    it, and plays what is missing."""

    resume: Literal["never", "auto"] = "never"
    """Whether to go on with the rollouts in the output folder; "never" refuses a folder that holds an evaluation."""

    protocol: ProtocolConfig | None = None
    """The published protocol that the settings are compared with; null compares with none."""

    seed: Seed = 0
    """Seed of the tasks and of sampling."""

    def __post_init__(self) -> None:
        _check_response_fits(self.model, self.sampling)
        if self.endpoint is None:
            _check_gpus(self.cluster, engines=self.engine)
        if (self.endpoint_options or self.endpoint_prices) and self.endpoint is None:
            name = "endpoint_options" if self.endpoint_options else "endpoint_prices"
            raise ConfigError(
                f"{name}={getattr(self, name)} without an endpoint, so nothing reads them: add endpoint=URL, or leave "
                "them out"
            )
        check_options(self.endpoint_options)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemosConfig:
    """Expert demonstrations, written to a file."""

    output: str
    """File of the demonstrations, one JSON object per episode; null makes outputs/demos/WORLD.jsonl."""

    env: EnvConfig
    """The world that the expert plays."""

    model: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Not used: demonstrations are text and fit any model. Presets of the group world_model may set it."""

    tasks: TaskCount = None
    """Number of training tasks that are played; null plays all."""

    passes: Count = 1
    """How often each task is played, each time with another seed."""

    mistakes: Mistakes = 0.0
    """Probability of a mistake before each action of the expert, who goes on from the state that it leads to."""

    revisions: Share = 0.0
    """Share of the tasks on which the expert also revises a failed attempt, as IBPO asks a policy to."""

    seed: Seed = 0
    """Seed of the episodes and of the mistakes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmstartConfig:
    """Supervised fine-tuning on expert demonstrations."""

    derived = MappingProxyType(
        {
            **CLUSTER,
            **LEARNER,
            "learner.temperature": Unused(value=1.0, reason="a warm start learns the plain distribution"),
            "learner.old_logprobs": Unused(value="learner", reason="a warm start has no old policy"),
            "learner.optimizer_steps": Unused(value=1, reason="a warm start takes its steps from rows_per_step"),
            "learner.rows_per_step": Unused(value=None, reason="a warm start has a rows_per_step of its own"),
            "learner.loss": Unused(
                value={"kl_coef": 0.0},
                reason="a warm start has the likelihood loss alone, and for an adapter learner=lora_finetune",
            ),
        }
    )

    output: str
    """Folder of the result, with the model in `model/`; null makes outputs/warmstart/DATE_TIME."""

    model: ModelConfig
    """The policy to start from."""

    env: EnvConfig
    """The world that the demonstrations are of."""

    learner: LearnerConfig
    """How the policy is trained."""

    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """The machines."""

    demos: str | None = None
    """File written by `stepcredit demos`, used in every epoch; null lets the expert play anew for each epoch."""

    tasks: TaskCount = None
    """Number of training tasks that the expert plays; null plays all."""

    passes: Count = 1
    """How often the expert plays each task in one epoch, each time with another seed."""

    mistakes: Mistakes = 0.0
    """Probability of a mistake before each action of the expert. The policy sees mistakes and what follows, and learns
    the expert's actions only."""

    observations: bool = False
    """Whether the policy also learns to say what the world says. Random weights then need fewer demonstrations."""

    revisions: Share = 0.0
    """Share of the tasks on which the expert also revises a failed attempt, so that the policy can when IBPO asks."""

    revise_prompt: str = PROMPT
    """What replaces the task in the prompts of revisions: the same as revise.prompt of the training run."""

    epochs: Count = 3
    """Passes of the learner over the demonstrations."""

    rows_per_step: Count = 64
    """Agent steps of one optimizer step."""

    protocol: Mapping[str, Any] | None = None
    """Not used: no published protocol has a warm start. Experiments may set it."""

    seed: Seed = 0
    """Seed of the episodes, of the mistakes and of the order of rows."""

    def __post_init__(self) -> None:
        _check_gpus(self.cluster, ranks=self.learner.world_size)
        check_prompt("revise_prompt", self.revise_prompt)
        played = (self.tasks, self.passes, self.mistakes, self.revisions)
        if self.demos is not None and played != (None, 1, 0.0, 0.0):
            raise ConfigError(
                f"demos={self.demos} is trained on as it is, so tasks={self.tasks}, passes={self.passes}, "
                f"mistakes={self.mistakes} and revisions={self.revisions} would do nothing: leave them out, or leave "
                "demos out to play the expert anew"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmstartSettings:
    """The warm start of a quickstart."""

    passes: Count
    """How often the expert plays each task in one epoch, each time with another seed."""

    mistakes: Mistakes
    """Probability of a mistake before each action of the expert."""

    revisions: Share
    """Share of the tasks on which the expert also revises a failed attempt."""

    epochs: Count
    """Passes of the learner over the demonstrations."""

    rows_per_step: Count
    """Agent steps of one optimizer step."""

    learning_rate: Annotated[float, Gt(0)]
    """Learning rate of the warm start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickstartConfig(TrainConfig):
    """A training run with a warm start before it."""

    warmstart: WarmstartSettings
    """The warm start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig(TrainConfig):
    """A training run whose GPUs are planned and not used."""

    json: bool = False
    """Whether the plan is printed as one line of JSON instead of a table; `--json` is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileConfig(TrainConfig):
    """A training run of which one update is traced. updates, validation and checkpoint are not read."""

    warm_updates: Count = 1
    """Updates before the one that is traced: the first of a run is slower."""

    def __post_init__(self) -> None:
        TrainConfig.__post_init__(self)
        if self.resume != "never":
            raise ConfigError(
                f"resume={self.resume!r} with a profile, which starts anew: leave it out, and set model.source to an "
                "export of the run"
            )


def _check_response_fits(model: ModelConfig, sampling: Sampling) -> None:
    if sampling.max_tokens > model.response_tokens:
        raise ConfigError(
            f"sampling.max_tokens={sampling.max_tokens} is more than model.response_tokens={model.response_tokens}, "
            "the room that a prompt leaves: lower the one or raise the other"
        )


def _check_gpus(cluster: ClusterConfig, *, engines: EngineConfig | None = None, ranks: int = 0) -> None:
    """Raise ConfigError where engines and ranks ask for more GPUs than there are."""
    if cluster.device == "cpu":
        return
    if ranks > cluster.gpus:
        raise ConfigError(
            f"cluster.ranks={ranks} with cluster.gpus={cluster.gpus}: each rank has a GPU of its own; lower "
            "cluster.ranks, or raise cluster.gpus"
        )
    if engines is None:
        return
    product = f"cluster.engines={engines.count} x engine.tensor_parallel={engines.tensor_parallel}"
    served = engines.count * engines.tensor_parallel
    if cluster.placement == "split" and served + ranks > cluster.gpus:
        raise ConfigError(
            f"cluster.placement='split' with {product} and cluster.ranks={ranks} takes {served + ranks} GPUs, and "
            f"cluster.gpus={cluster.gpus}: lower cluster.engines and cluster.ranks until they fit"
        )
    if cluster.placement == "colocated" and served > (shared := ranks or cluster.gpus):
        owner = f"cluster.ranks={ranks}, whose GPUs they share" if ranks else f"cluster.gpus={shared}"
        raise ConfigError(
            f"{product} takes {served} GPUs, with {owner}: lower cluster.engines or engine.tensor_parallel"
            + (", or take cluster.placement=split" if ranks else "")
        )
