"""What passes between the learner's driver and its ranks."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.data.tokens import Float32, Int64
from trainer.learner.packing import Chain

MicroBatches = Sequence[tuple[Chain, ...]]
"""One rank's micro-batches of one optimizer step, or of a scoring pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenColumns:
    """What `learn` needs per response token of the whole batch, float32 [R]; see `losses.LossInputs`."""

    advantage: Float32
    weight: Float32
    old_logprobs: Float32
    ref_logprobs: Float32 | None
    rollout_logprobs: Float32 | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankScores:
    """What one rank found out: S of the batch's response tokens at `token_index`, K of its rows at `rows`.

    logprobs, ref_logprobs, entropy: float32 [S], nats. hidden: float32 [K, D].
    """

    token_index: Int64
    logprobs: Float32
    ref_logprobs: Float32 | None
    entropy: Float32
    rows: Int64
    hidden: Float32 | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStats:
    """One optimizer step as one rank saw it: `LossTerms` summed over its micro-batches; the norm is global."""

    loss: float
    policy: float
    kl: float
    clip_share: float
    ratio_max: float
    grad_norm: float
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A weights file for the engines: safetensors, named as in a Hugging Face state_dict, tied copies left out."""

    path: str
    """On disk or in shared memory."""
    version: int
    """Number of the publish; the engines report it with each answer."""
    checksum: str
    """Of the file's bytes, see `rollout.weights.checksum`; the engines verify it before they load the file."""
