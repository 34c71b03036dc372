"""The records that the learner's driver and its ranks exchange."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.data.tokens import Float32, Int64
from trainer.learner.packing import Chain

MicroBatches = Sequence[tuple[Chain, ...]]
"""One rank's micro-batches of one optimizer step or of one scoring pass; each is a tuple of chains."""


class CheckpointMismatch(ValueError):
    """A checkpoint of a learner with other settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticColumns:
    """What the critic needs for each of the N rows of the whole batch, or, if it is one of tokens, of the R tokens."""

    returns: Float32
    """float32 [N] or [R]. What it should have said, in units of reward."""
    values: Float32
    """float32 [N] or [R]. What it said before the update."""
    weight: Float32
    """float32 [N] or [R]. What the row or token weighs in its loss; 0 leaves it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenColumns:
    """What `LearnerRank.learn` needs for each of the R response tokens of the whole batch."""

    advantage: Float32
    """float32 [R]. The advantage of the token."""
    weight: Float32
    """float32 [R]. What the token weighs in the loss (`token_weights`); 0 leaves it out."""
    old_logprobs: Float32
    """float32 [R], nats. From the policy before the update, or from the engine (learner.old_logprobs)."""
    ref_logprobs: Float32 | None
    """float32 [R], nats. From the reference policy; None if the loss has no KL term."""
    rollout_logprobs: Float32 | None
    """float32 [R], nats. From the engine; None if the loss does not weigh by importance, or divides by them already."""
    critic: CriticColumns | None
    """What the critic learns from; None without a critic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankScores:
    """The scores of one rank: for S of the batch's response tokens and K of its rows."""

    token_index: Int64
    """int64 [S]. Where these tokens stand in an array per response token of the whole batch."""
    logprobs: Float32 | None
    """float32 [S], nats; None if nobody asked for the policy's."""
    ref_logprobs: Float32 | None
    """float32 [S], nats. From the reference policy; None if there is none."""
    entropy: Float32 | None
    """float32 [S], nats; None as `logprobs`."""
    rows: Int64
    """int64 [K]. Which rows of the batch these are."""
    hidden: Float32 | None
    """float32 [K, D]. The hidden state at each prompt's last token; None if no layer was asked for."""
    values: Float32 | None
    """float32 [K]. What the critic expects from each prompt on, [S] if it is one of tokens before each token; None
    without a critic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStats:
    """One optimizer step on one rank: the `LossTerms` of its micro-batches together, and two numbers of the engine."""

    loss: float
    """Sum over the rank's micro-batches; the sum over all ranks is the loss of the step."""
    policy: float
    """Sum of the clipped surrogate loss, as `loss`."""
    kl: float
    """Sum of the KL estimate in nats, as `loss`."""
    clip_share: float
    """Sum of the weights of the clipped tokens, as `loss`."""
    ratio_max: float
    """Largest probability ratio of the rank's tokens."""
    log_ratio: float
    """Sum of |log ratio| over the rank's tokens in the loss, in nats."""
    live_tokens: float
    """How many tokens these are."""
    value: float
    """Sum of the critic's loss, as `loss`."""
    value_clip_share: float
    """Sum of the weights of the values at which the bound on their change was active."""
    grad_norm: float
    """Norm of the gradient over all ranks, before clipping."""
    learning_rate: float
    """The learning rate of the step."""
    skipped: bool
    """Whether the step was not taken, on all ranks alike, because the gradient was not finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRow:
    """A row whose own loss or gradient is not finite."""

    row: int
    """Which row of the batch."""
    loss: float
    """Its part of the loss of the step."""
    log_ratio: float
    """Largest |log ratio| of its tokens in the loss, in nats."""
    parameter: str | None
    """The first parameter on the way back from the loss whose gradient is not finite; None if all gradients are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedStep:
    """One optimizer step of an update that was run again."""

    rows: tuple[int, ...]
    """Rows of its minibatch that went through the model."""
    loss: float
    """What was minimised."""
    grad_norm: float
    """Norm of the gradient before clipping."""
    skipped: bool
    """Whether the step was not taken because its gradient was not finite."""
    broken: tuple[BrokenRow, ...]
    """The rows that alone are not finite; empty for a step that was taken."""


def check_finite(**columns: Float32 | None) -> None:
    """Raise FloatingPointError where what a model says about the rows is not finite; it names the first column."""
    for name, column in columns.items():
        if column is not None and not (finite := np.isfinite(column)).all():
            raise FloatingPointError(
                f"{int((~finite).sum())} of the learner's {column.size} values of {name} are not finite, so its "
                "weights are broken: if it comes again after resume=auto, begin anew from its last checkpoint with "
                "stepcredit fork and a lower learner.learning_rate"
            )
