"""What the learner minimises, per response token, as pure tensor functions.

S response tokens of one micro-batch. Every token carries a *weight* in which the one global denominator is already
divided out (`trainer.learner.token_weights`), so a loss is a plain weighted sum and adds up over micro-batches and
ranks.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainer.config.learner import KlEstimator, LossConfig

MAX_LOG_RATIO = 20.0
"""Nats at which log-ratios are clamped before exp: exp(20) = 4.9e8 stays finite in float32 after being squared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """The S response tokens of one micro-batch; only `logprobs` and `entropy` carry a gradient. All [S], nats.

    ref_logprobs, rollout_logprobs: None where the loss does not use them.
    weight: see `trainer.learner.token_weights`; 0 leaves the token out.
    segment: int64, which row of the micro-batch a token belongs to, below num_rows.
    """

    logprobs: Tensor
    entropy: Tensor
    old_logprobs: Tensor
    ref_logprobs: Tensor | None
    rollout_logprobs: Tensor | None
    advantage: Tensor
    weight: Tensor
    segment: Tensor
    num_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """Weighted sums over a micro-batch, scalars that add up over micro-batches and ranks; ratio_max takes the max.

    loss: what is differentiated, policy + kl_coef * kl - entropy_coef * entropy. clip_share: weight of the tokens
    at which the clipped branch was the smaller one.
    """

    loss: Tensor
    policy: Tensor
    kl: Tensor
    clip_share: Tensor
    ratio_max: Tensor


def policy_loss(inputs: LossInputs, config: LossConfig) -> LossTerms:
    """Clipped surrogate with its companions, summed with the tokens' weights."""
    log_ratio = inputs.logprobs - inputs.old_logprobs  # [S]
    live = inputs.weight > 0
    if config.ratio == "sequence":
        log_ratio = sequence_log_ratio(log_ratio, live, inputs.segment, inputs.num_rows)
    ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    advantage = torch.where(inputs.advantage < 0, config.negative_weight * inputs.advantage, inputs.advantage)
    surrogate, clipped = clipped_surrogate(ratio, advantage, config)
    if config.importance_cap is not None:
        surrogate = surrogate * importance_weight(inputs.old_logprobs, _present(inputs, "rollout_logprobs"), config)
    policy = -(inputs.weight * surrogate).sum()
    entropy = (inputs.weight * inputs.entropy).sum()
    kl = torch.zeros_like(policy)
    if config.kl_coef > 0:
        kl = (inputs.weight * kl_estimate(inputs.logprobs, _present(inputs, "ref_logprobs"), config.kl_estimator)).sum()
    return LossTerms(
        loss=policy + config.kl_coef * kl - config.entropy_coef * entropy,
        policy=policy.detach(),
        kl=kl.detach(),
        clip_share=(inputs.weight * clipped).sum(),
        ratio_max=(ratio.detach() * live).amax(),
    )


def likelihood_loss(logprobs: Tensor, weight: Tensor) -> LossTerms:
    """Negative log-likelihood, weighted and summed: supervised fine-tuning. All [S]."""
    loss = -(weight * logprobs).sum()
    zero = torch.zeros_like(loss)
    return LossTerms(
        loss=loss,
        policy=loss.detach(),
        kl=zero,
        clip_share=zero,
        ratio_max=zero,
    )


def clipped_surrogate(ratio: Tensor, advantage: Tensor, config: LossConfig) -> tuple[Tensor, Tensor]:
    """min(r A, clip(r, 1 - low, 1 + high) A), to be maximised, and where the clipped branch won. [S] -> [S], bool [S]

    1707.06347 eq. 7 (PPO); separate bounds: 2503.14476 eq. 10 (DAPO). Dual clip, for A < 0 only: max(that, c A),
    1912.09729 eq. 5.
    """
    free = ratio * advantage
    bounded = ratio.clamp(1.0 - config.clip_low, 1.0 + config.clip_high) * advantage
    surrogate = torch.minimum(free, bounded)
    clipped = bounded < free
    if config.dual_clip is not None:
        floor = torch.where(advantage < 0, config.dual_clip * advantage, -torch.inf)
        clipped = clipped | (floor > surrogate)
        surrogate = torch.maximum(surrogate, floor)
    return surrogate, clipped


def sequence_log_ratio(log_ratio: Tensor, live: Tensor, segment: Tensor, num_rows: int) -> Tensor:
    """Each token gets its row's mean log-ratio as value and its own as gradient. [S] -> [S]

    2507.18071 eq. 7 (GSPO) in the form of eq. 14: s_i(theta) = sg[s_i] * pi / sg[pi]. Summed with equal weights over
    a row, its gradient is that of eq. 5. The mean goes over the row's live tokens.
    """
    counts = torch.zeros(num_rows, dtype=log_ratio.dtype, device=log_ratio.device).index_add(
        0, segment, live.to(log_ratio.dtype)
    )  # [K]
    sums = torch.zeros_like(counts).index_add(0, segment, log_ratio.detach() * live)
    mean = (sums / counts.clamp(min=1.0))[segment]  # [S]
    return mean + log_ratio - log_ratio.detach()


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, estimator: KlEstimator) -> Tensor:
    """Per-token estimate of KL(policy || reference) from the policy's own samples. [S] -> [S]

    With d = log pi_ref - log pi: k1 = -d, k2 = d^2 / 2, k3 = exp(d) - d - 1 (http://joschu.net/blog/kl-approx.html;
    k3 is 2402.03300 eq. 4). As a loss, k1's gradient has mean zero: it measures, it does not pull.
    """
    difference = (ref_logprobs - logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    if estimator == "k1":
        return -difference
    if estimator == "k2":
        return difference.square() / 2
    return torch.expm1(difference) - difference


def importance_weight(old_logprobs: Tensor, rollout_logprobs: Tensor, config: LossConfig) -> Tensor:
    """min(pi_old / pi_engine, cap): the truncated weight for the engine's own numerics. [S] -> [S], no gradient.

    Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training", eq. TIS.
    """
    return (old_logprobs - rollout_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp().clamp(max=config.importance_cap)


def _present(inputs: LossInputs, name: Literal["ref_logprobs", "rollout_logprobs"]) -> Tensor:
    column = getattr(inputs, name)
    if column is None:
        raise ValueError(f"the loss uses {name}, the targets have none: pass them to Learner.learn")
    return column
