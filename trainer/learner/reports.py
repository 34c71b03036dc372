"""What the learner says to those that call it: scores of a batch, and what an update's optimizer steps did."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.data.tokens import Float32
from trainer.learner.messages import StepStats, check_finite
from trainer.learner.packing import Packing


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What the policy says about the N rows and R response tokens of a batch, at the sampling temperature.

    Raises FloatingPointError for values that are not finite, which weights that are broken give.
    """

    logprobs: Float32 | None
    """float32 [R], nats. Log-probs of the response tokens, in the batch's order; None if the engine's are taken."""
    ref_logprobs: Float32 | None
    """float32 [R], nats. The reference policy's; None if the loss has no KL term."""
    embedding: Float32 | None
    """float32 [N, D]. Hidden state at each row's last prompt token; None if no layer was asked for."""
    entropy: float | None
    """Mean over the R tokens of the entropy of the next-token distribution, in nats; None as `logprobs`."""
    values: Float32 | None = None
    """float32 [N]. What the critic expects from each row's prompt on, in units of reward, [R] if it is one of tokens;
    None without a critic."""

    def __post_init__(self) -> None:
        check_finite(logprobs=self.logprobs, ref_logprobs=self.ref_logprobs, embedding=self.embedding)
        check_finite(values=self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnReport:
    """What one call of `learn` or `sft` did.

    "Mean" below is the mean over the optimizer steps that were taken of the weighted mean over a step's response
    tokens. It is NaN where all were skipped.
    """

    loss: float
    """Mean of what was minimised (`losses.LossTerms.loss`)."""
    policy_loss: float
    """Mean of the clipped surrogate loss alone."""
    kl: float
    """Mean estimate of the KL divergence from the reference, in nats; 0 if the loss has no KL term."""
    clip_share: float
    """Mean share of the tokens in the loss at which the clipped branch was active, in [0, 1]."""
    ratio_max: float
    """Largest probability ratio of the policy against the policy before the update."""
    first_ratio_error: float
    """Mean |log ratio| of the tokens in the loss at the first step taken, in nats (`first_ratio`); 0 for `sft`."""
    grad_norm: float
    """Norm of the gradient before clipping, averaged over the optimizer steps."""
    learning_rate: float
    """Learning rate of the last optimizer step."""
    optimizer_steps: int
    """How many optimizer steps were taken."""
    skipped_steps: int
    """How many were not, because their gradient was not finite."""
    tokens: int
    """Tokens that went through the model."""
    padded_ratio: float
    """Cells of all micro-batches, padding included, per token; 1 or more."""
    row_tokens: int
    """Tokens that would have gone through the model if every row were a sequence of its own, without chains."""
    squared_tokens: int
    """The sum over the sequences of the square of their tokens, which attention takes."""
    scored_tokens: int
    """Response tokens, at which alone the head is computed."""
    engine_mismatch: float | None
    """Mean of |rollout - learner's log-prob| over the tokens in the loss, in nats; None without rollout log-probs. With
    the engine's as old ones, over those of the first optimizer step."""
    critic_loss: float | None = None
    """Mean of half the squared error of the critic over a step's rows or tokens; None without a critic."""
    critic_clip_share: float | None = None
    """Mean share of the values at which the bound on their change was active; None as `critic_loss`."""


def merged(
    parts: Sequence[Sequence[StepStats]], packings: Sequence[Packing], *, has_critic: bool = False
) -> LearnReport:
    """Sum over the ranks and average over the optimizer steps that were taken.

    Norm and learning rate are the same on every rank, and so is which steps were skipped.
    """
    taken = [steps for steps in zip(*parts, strict=True) if not steps[0].skipped]

    def total(name: str) -> float:
        return _mean([sum(getattr(step, name) for step in steps) for steps in taken])

    tokens = sum(packing.real_tokens for packing in packings)
    return LearnReport(
        loss=total("loss"),
        policy_loss=total("policy"),
        kl=total("kl"),
        clip_share=total("clip_share"),
        ratio_max=max((step.ratio_max for steps in taken for step in steps), default=math.nan),
        first_ratio_error=_mean_log_ratio(taken[0]) if taken else math.nan,
        grad_norm=_mean([steps[0].grad_norm for steps in taken]),
        learning_rate=parts[0][-1].learning_rate,
        optimizer_steps=len(taken),
        skipped_steps=len(packings) - len(taken),
        tokens=tokens,
        padded_ratio=sum(packing.padded_tokens for packing in packings) / tokens,
        row_tokens=sum(packing.row_tokens for packing in packings),
        squared_tokens=sum(packing.squared_tokens for packing in packings),
        scored_tokens=sum(packing.scored_tokens for packing in packings),
        engine_mismatch=None,
        critic_loss=total("value") if has_critic else None,
        critic_clip_share=total("value_clip_share") if has_critic else None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _mean_log_ratio(ranks: Sequence[StepStats]) -> float:
    """Mean |log ratio| of one optimizer step over the tokens of all ranks, in nats; 0 if none is in the loss."""
    return sum(step.log_ratio for step in ranks) / max(1.0, sum(step.live_tokens for step in ranks))
