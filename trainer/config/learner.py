"""The settings of the learner and its loss. Light to import: no torch, Ray or DeepSpeed."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, doc

from rollout.marks import FIXED, HARMLESS
from rollout.types import LOWEST_TEMPERATURE, Device, Precision

Ratio = Literal["token", "sequence"]
KlEstimator = Literal["k1", "k2", "k3"]
Aggregation = Literal["token", "sequence"]
OldLogprobs = Literal["learner", "engine"]
CompileMode = Literal["none", "layers"]
PackingMode = Literal["padded", "packed"]
Beta = Annotated[float, Interval(ge=0, lt=1)]
TargetModules = tuple[str, ...] | Literal["all-linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """The clipped surrogate loss and its extra terms."""

    clip_low: Annotated[float, Interval(gt=0, lt=1)] = 0.2
    """How far below 1 the probability ratio may fall before it is clipped."""

    clip_high: Annotated[float, Gt(0)] = 0.2
    """How far above 1 the probability ratio may rise before it is clipped."""

    dual_clip: Annotated[float | None, Gt(1), doc("a value above 1, or null")] = None
    """Bound c > 1 on the surrogate of negative advantages; null sets no bound."""

    ratio: Ratio = "token"
    """Of what the probability ratio is taken: each "token", or the whole "sequence", length-normalised as in GSPO."""

    kl_coef: Annotated[float, Ge(0)] = 0.01
    """Weight of the KL divergence to the reference model. With 0 no reference model is loaded."""

    kl_estimator: KlEstimator = "k3"
    """Which estimator of the KL divergence the loss uses."""

    entropy_coef: Annotated[float, Ge(0)] = 0.0
    """Weight of the entropy bonus."""

    aggregation: Aggregation = "token"
    """How tokens are averaged: with "token" all of an optimizer step count alike, with "sequence" all rows do."""

    importance_cap: Annotated[float | None, Ge(1), doc("1 or more, or null")] = None
    """Largest weight exp(old - rollout log-prob) of a token; null leaves the weight out. 2 on
    GPUs, whose engines round otherwise than the learner, null on a CPU. With learner.old_logprobs=engine it is the
    largest probability ratio."""

    negative_weight: Annotated[float, Ge(0)] = 1.0
    """Factor of advantages below 0. With 0 the policy learns from what went better than its siblings alone
    (near RAFT, 2504.11343). 2506.01347 does the opposite: it scales the advantages above 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """A low-rank adapter (LoRA, 2106.09685) that is trained in place of the weights, without dropout.

    A matrix W of the model becomes W + (alpha / rank) B A, where B A has the given rank and is 0 at the start. W stays
    as it was loaded, and is the reference policy too.
    """

    rank: Annotated[int | None, Ge(1), doc("1 or more, or null to train all weights")] = None
    """Rank of the adapter's matrices; null adds no adapter and trains all weights."""

    alpha: Annotated[int, Ge(1)] = 32
    """Numerator of the adapter's scale alpha / rank."""

    target_modules: TargetModules = "all-linear"
    """Last names of the linear layers that get an adapter, such as [q_proj,v_proj]; "all-linear": all but the head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticConfig:
    """The critic of an estimator that needs values: a linear head on the policy's last hidden state, at first 0."""

    learning_rate: Annotated[float, Gt(0)] = 1.0
    """Adam's learning rate of the head: about how far a value moves in an optimizer step, in units of reward, whatever
    the model's width. It neither warms up nor decays."""

    clip: Annotated[float | None, Gt(0), doc("a value above 0, or null")] = None
    """How far a value may move from what it was before the update until its loss stops paying for it, in units of
    reward; null sets no bound."""

    body_coef: Annotated[float, Ge(0)] = 0.0
    """Weight of the critic's loss in the gradient of the policy's own weights; with 0 the head alone learns from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """How the policy is trained: number of ranks, precision, optimizer and memory."""

    world_size: Annotated[int, Ge(1)] = 1
    """Ranks of the learner, one process each. Follows cluster.ranks."""

    device: Device = "cpu"
    """Where the ranks compute. Follows cluster.device."""

    dtype: Precision = "float32"
    """Precision of the forward and backward pass; the optimizer keeps float32 weights. Follows cluster.dtype."""

    zero_stage: Annotated[int, Interval(ge=0, le=3), doc("0, 1, 2 or 3")] = field(default=1, metadata=FIXED)
    """What the ranks split among them: 0 nothing, 1 the optimizer's state, 2 also gradients, 3 also weights. On
    GPUs the plan takes a higher stage where this one does not fit."""

    learning_rate: Annotated[float, Gt(0)] = 1e-6
    """Learning rate after the warm-up. The commands take it from model.tuning."""

    weight_decay: Annotated[float, Ge(0)] = 0.01
    """AdamW's weight decay, of matrices only."""

    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """AdamW's decay rates of the first and the second moment."""

    warmup_steps: Annotated[int, Ge(0)] = 0
    """Optimizer steps over which the learning rate rises linearly from 0."""

    decay_steps: Annotated[int | None, Ge(1), doc("1 or more, or null")] = None
    """Optimizer steps after the warm-up over which the learning rate falls linearly to 0; null keeps it constant."""

    grad_clip: Annotated[float, Gt(0), doc("a value above 0 (a large one never clips)")] = 1.0
    """Largest global norm of the gradient. A larger gradient is scaled down to it."""

    token_budget: Annotated[int, Ge(1)] = field(default=16384, metadata=HARMLESS)
    """Tokens of one micro-batch, padding included. Lower it if memory runs out."""

    packing: PackingMode | None = field(default=None, metadata=HARMLESS)
    """How sequences share a micro-batch: "padded" gives each a line as long as the longest, "packed" puts them one
    after another. null packs on GPUs in bfloat16 where the model's attention allows it, and pads elsewhere."""

    optimizer_steps: Annotated[int | None, Ge(1), doc("1 or more, or null for rows_per_step")] = 4
    """Optimizer steps of one update, whatever the number of rows; null with learner.rows_per_step."""

    rows_per_step: Annotated[int | None, Ge(1), doc("1 or more, or null for optimizer_steps")] = None
    """Rows of one optimizer step, as the papers count them, with learner.optimizer_steps=null. An update with R rows in
    the loss takes R / rows_per_step steps, rounded up, at most one for each rollout: a rollout is never cut."""

    max_skipped_steps: Annotated[int, Ge(1)] = field(default=3, metadata=HARMLESS)
    """Optimizer steps in a row whose gradient is not finite before the run ends. Fewer are skipped and counted."""

    gradient_checkpointing: bool = field(default=False, metadata=HARMLESS)
    """Recompute activations in the backward pass: less memory, more time. The commands take it from model.tuning."""

    compile: CompileMode = field(default="none", metadata=HARMLESS)
    """Whether torch compiles the policy's "layers", which takes a minute at the start and a C compiler. Not with
    zero_stage=3, which gathers weights inside a layer."""

    threads: Annotated[int, Ge(1)] = 1
    """CPU threads of each rank. Follows cluster.threads."""

    temperature: Annotated[float, Ge(LOWEST_TEMPERATURE)] = 1.0
    """Temperature of the distribution whose log-probs are taken. Follows sampling.temperature."""

    timeout_s: Annotated[float, Interval(gt=0, lt=math.inf)] = field(default=7200.0, metadata=HARMLESS)
    """Seconds that one call of the ranks may take, the longest of which are the optimizer steps of an update and an
    epoch of a warm start."""

    old_logprobs: OldLogprobs = "learner"
    """Whose log-probs the probability ratio divides by. The "learner" takes them in a pass of its own. The "engine" has
    them already: that saves the pass, and the ratio, which then holds the engine's roundings too, is truncated at
    loss.importance_cap. It leaves learn/entropy out."""

    max_engine_mismatch: Annotated[float, Gt(0)] = field(default=0.1, metadata=HARMLESS)
    """Largest mean |rollout - old log-prob| of an update, in nats. Above it the run stops: stale weights differ by more
    than rounding does, which is 0.001 in float32 and expected to be 0.01 to 0.02 in bfloat16."""

    loss: LossConfig = field(default_factory=LossConfig)
    """The loss of reinforcement learning."""

    critic: CriticConfig = field(default_factory=CriticConfig)
    """The critic, which only estimators that need values have, such as ppo."""

    lora: LoraConfig = field(default_factory=LoraConfig, metadata=FIXED)
    """The adapter that is trained in place of the weights, if its rank is given."""

    def __post_init__(self) -> None:
        self._check_steps()
        self._check_dual_clip()
        if self.compile == "layers" and self.zero_stage == 3:
            raise ValueError(
                "learner.compile='layers' with learner.zero_stage=3, whose hooks gather weights inside a layer: set "
                "learner.compile=none, or a lower stage"
            )
        if self.old_logprobs == "engine":
            self._check_cap()
        if self.dtype == "bfloat16" and self.zero_stage == 0:
            raise ValueError(
                "cluster.dtype=bfloat16 with learner.zero_stage=0 keeps no float32 master weights, "
                "and small updates would round to nothing: set learner.zero_stage=1"
            )

    def _check_steps(self) -> None:
        if (self.optimizer_steps is None) == (self.rows_per_step is None):
            raise ValueError(
                f"learner.optimizer_steps={self.optimizer_steps} with learner.rows_per_step={self.rows_per_step}: "
                "exactly one of them says how often an update steps; set the other to null"
            )
        if self.rows_per_step is not None and self.decay_steps is not None:
            raise ValueError(
                f"learner.decay_steps={self.decay_steps} with learner.rows_per_step={self.rows_per_step}, whose number "
                "of optimizer steps nobody knows ahead: set learner.decay_steps=null, or learner.optimizer_steps"
            )

    def _check_cap(self) -> None:
        """Refuse ratios to the engine's log-probs that nothing bounds, and a clip that they do not reach."""
        cap = self.loss.importance_cap
        if cap is None:
            raise ValueError(
                "learner.old_logprobs='engine' with learner.loss.importance_cap=None, so nothing bounds the engine's "
                "roundings: set learner.loss.importance_cap=2, or learner.old_logprobs=learner"
            )
        if cap <= 1 + self.loss.clip_high:
            raise ValueError(
                f"learner.loss.importance_cap={cap} with learner.loss.clip_high={self.loss.clip_high}, which no ratio "
                "reaches under learner.old_logprobs=engine: set a cap above 1 + clip_high, or "
                "learner.old_logprobs=learner"
            )

    def _check_dual_clip(self) -> None:
        """Refuse a bound that no token can reach."""
        bound, cap = self.loss.dual_clip, self.loss.importance_cap
        if bound is None:
            return
        if self.loss.negative_weight == 0:
            raise ValueError(
                f"learner.loss.dual_clip={bound} with learner.loss.negative_weight=0, which leaves no negative "
                "advantage to bound: set learner.loss.dual_clip=null, or a weight above 0"
            )
        if self.old_logprobs == "engine" and cap is not None and bound >= cap:
            raise ValueError(
                f"learner.loss.dual_clip={bound} with learner.loss.importance_cap={cap}, which no ratio passes under "
                "learner.old_logprobs=engine: set learner.loss.dual_clip=null, or a bound below the cap"
            )

    def steps_of(self, *, rows: int, rollouts: int) -> int:
        """Optimizer steps of an update with so many rows, of so many rollouts, in the loss; 1 or more."""
        if self.rows_per_step is None:
            assert self.optimizer_steps is not None  # one of the two is a number
            return self.optimizer_steps
        return max(1, min(-(-rows // self.rows_per_step), rollouts))
