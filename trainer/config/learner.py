"""What a learner is told: typed, ranges checked, and light to import (no torch, Ray or DeepSpeed)."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from rollout.ranges import refuse_outside
from rollout.types import Device, Precision

Ratio = Literal["token", "sequence"]
KlEstimator = Literal["k1", "k2", "k3"]
Aggregation = Literal["token", "sequence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """The clipped surrogate and its companions.

    clip_low, clip_high: the ratio is clipped to [1 - clip_low, 1 + clip_high].
    dual_clip: lower bound c > 1 on the surrogate of negative advantages, or None.
    ratio: "token", or "sequence" for GSPO's length-normalised ratio of the whole response.
    kl_coef: weight of the KL to the reference in the loss; 0 leaves the reference model out altogether.
    entropy_coef: weight of the entropy bonus.
    aggregation: "token" weighs all tokens of an optimizer step alike; "sequence" takes the mean of the rows' means.
    importance_cap: cap of the weight exp(old - rollout log-prob), or None to leave the weight out.
    negative_weight: factor of advantages below 0; 0 learns from what went better than its siblings alone (near
        2504.11343's RAFT). 2506.01347 does the opposite and scales those above 0.
    Raises ValueError outside these ranges.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    ratio: Ratio = "token"
    kl_coef: float = 0.0
    kl_estimator: KlEstimator = "k3"
    entropy_coef: float = 0.0
    aggregation: Aggregation = "token"
    importance_cap: float | None = None
    negative_weight: float = 1.0

    def __post_init__(self) -> None:
        checks = (
            ("clip_low", 0.0 < self.clip_low < 1.0, "a value in (0, 1)"),
            ("clip_high", self.clip_high > 0.0, "a value above 0"),
            ("dual_clip", self.dual_clip is None or self.dual_clip > 1.0, "a value above 1, or none"),
            ("ratio", self.ratio in get_args(Ratio), f"one of {get_args(Ratio)}"),
            ("kl_coef", self.kl_coef >= 0.0, "0 or more"),
            ("kl_estimator", self.kl_estimator in get_args(KlEstimator), f"one of {get_args(KlEstimator)}"),
            ("entropy_coef", self.entropy_coef >= 0.0, "0 or more"),
            ("aggregation", self.aggregation in get_args(Aggregation), f"one of {get_args(Aggregation)}"),
            ("negative_weight", self.negative_weight >= 0, "0 or more"),
            ("importance_cap", self.importance_cap is None or self.importance_cap >= 1.0, "1 or more, or none"),
        )
        refuse_outside(self, "learner.loss", checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """How many ranks train, on what, how fast and in how much memory.

    world_size: ranks, one process each. device, dtype: "cpu" or "cuda"; "float32" or "bfloat16" (with float32 master
        weights, so ZeRO 1 to 3 only). zero_stage: 0 replicates, 1 splits optimizer state, 2 gradients, 3 weights.
    learning_rate: reached linearly over warmup_steps optimizer steps, then constant, or falling linearly to 0 over
        decay_steps where they are given. weight_decay: on matrices only.
    grad_clip: largest global norm of a gradient. token_budget: cells of one micro-batch, padding included.
    optimizer_steps: optimizer steps per update, whatever the number of rows.
    gradient_checkpointing: recompute activations in the backward pass. threads: per rank, on a CPU.
    gpus: Ray's share of one for each rank.
    temperature: of the distribution whose log-probs are taken; the rollout's own.
    Raises ValueError outside the ranges and for pairs that do not go together.
    """

    world_size: int = 1
    device: Device = "cpu"
    dtype: Precision = "float32"
    zero_stage: int = 1
    learning_rate: float = 1e-6
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = 0
    decay_steps: int | None = None
    grad_clip: float = 1.0
    token_budget: int = 16384
    optimizer_steps: int = 1
    gradient_checkpointing: bool = False
    threads: int = 1
    gpus: float = 0.0
    temperature: float = 1.0
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        checks = (
            ("world_size", self.world_size >= 1, "1 or more"),
            ("device", self.device in get_args(Device), f"one of {get_args(Device)}"),
            ("dtype", self.dtype in get_args(Precision), f"one of {get_args(Precision)}"),
            ("zero_stage", self.zero_stage in (0, 1, 2, 3), "0, 1, 2 or 3"),
            ("learning_rate", self.learning_rate > 0, "a value above 0"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("betas", all(0 <= beta < 1 for beta in self.betas), "values in [0, 1) for both"),
            ("warmup_steps", self.warmup_steps >= 0, "0 or more"),
            (
                "decay_steps",
                self.decay_steps is None or self.decay_steps >= 1,
                "1 or more, or null",
            ),
            ("grad_clip", self.grad_clip > 0, "a value above 0 (a large one never clips)"),
            ("token_budget", self.token_budget >= 1, "1 or more"),
            ("optimizer_steps", self.optimizer_steps >= 1, "1 or more"),
            ("threads", self.threads >= 1, "1 or more"),
            ("gpus", self.gpus >= 0, "0 or more"),
            ("temperature", self.temperature > 0, "a value above 0"),
        )
        refuse_outside(self, "learner", checks)
        if self.dtype == "bfloat16" and self.zero_stage == 0:
            raise ValueError(
                "learner.dtype=bfloat16 with learner.zero_stage=0 keeps no float32 master weights, "
                "and small updates would round to nothing: set learner.zero_stage=1"
            )
