"""The loss per response token, as pure tensor functions over the S response tokens of one micro-batch.

Every token has a *weight* that already contains the global denominator (`trainer.learner.token_weights`). A loss is
therefore a plain weighted sum, and losses add up over micro-batches and ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from trainer.config.learner import KlEstimator, LossConfig

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to this many nats before exp: exp(20) = 4.9e8 is finite in float32 even when squared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """The S response tokens of one micro-batch. Only `logprobs` and `entropy` carry a gradient."""

    logprobs: Tensor
    """float32 [S], nats. From the policy that is trained."""
    entropy: Tensor
    """float32 [S], nats. Of the distribution each token was drawn from."""
    old_logprobs: Tensor
    """float32 [S], nats. From the policy before the update."""
    ref_logprobs: Tensor | None
    """float32 [S], nats. From the reference policy; None if the loss does not use it."""
    rollout_logprobs: Tensor | None
    """float32 [S], nats. From the engine; None if the loss does not use them."""
    advantage: Tensor
    """float32 [S]. The advantage of the token."""
    weight: Tensor
    """float32 [S]. See `trainer.learner.token_weights`; 0 leaves the token out."""
    segment: Tensor
    """int64 [S]. Which row of the micro-batch the token belongs to, below num_rows."""
    num_rows: int
    """Rows in the micro-batch, at least 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """Scalars of one micro-batch. All but `ratio_max` are sums that add up over micro-batches and ranks."""

    loss: Tensor
    """What is differentiated: policy + kl_coef * kl - entropy_coef * entropy + value."""
    policy: Tensor
    """The negative clipped surrogate."""
    kl: Tensor
    """The KL estimate, in nats; 0 if the loss has no KL term."""
    clip_share: Tensor
    """The weight of the tokens at which the clipped branch was the smaller one."""
    ratio_max: Tensor
    """The largest probability ratio of a token in the loss."""
    log_ratio: Tensor
    """The sum of |log ratio| over the tokens in the loss, in nats; each counts alike, whatever its weight."""
    live_tokens: Tensor
    """How many tokens are in the loss."""
    value: Tensor
    """The critic's loss; 0 without one."""
    value_clip_share: Tensor
    """The weight of the values at which the bound on their change was active."""


def policy_loss(inputs: LossInputs, config: LossConfig, *, of_engine: bool = False) -> LossTerms:
    """The clipped surrogate with its optional KL, entropy and importance terms, as weighted sums.

    loss = -sum w (clipped surrogate) + kl_coef * sum w (KL estimate) - entropy_coef * sum w (entropy)

    of_engine: `old_logprobs` are the engine's; the ratio is truncated in place of the importance weight.
    """
    log_ratio = inputs.logprobs - inputs.old_logprobs  # [S]
    live = inputs.weight > 0
    drift = (log_ratio.detach().abs() * live).sum()
    if config.ratio == "sequence":
        log_ratio = sequence_log_ratio(log_ratio, live, inputs.segment, inputs.num_rows)
    ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    advantage = torch.where(inputs.advantage < 0, config.negative_weight * inputs.advantage, inputs.advantage)
    within = truncated_ratio(ratio, config) if of_engine else ratio
    surrogate, clipped = clipped_surrogate(within, advantage, config)
    if config.importance_cap is not None and not of_engine:
        surrogate = surrogate * importance_weight(inputs.old_logprobs, _present(inputs, "rollout_logprobs"), config)
    policy = -(inputs.weight * surrogate).sum()
    entropy = (inputs.weight * inputs.entropy).sum()
    kl = zero = torch.zeros_like(policy).detach()
    if config.kl_coef > 0:
        kl = (inputs.weight * kl_estimate(inputs.logprobs, _present(inputs, "ref_logprobs"), config.kl_estimator)).sum()
    return LossTerms(
        loss=policy + config.kl_coef * kl - config.entropy_coef * entropy,
        policy=policy.detach(),
        kl=kl.detach(),
        clip_share=(inputs.weight * clipped).sum(),
        ratio_max=(ratio.detach() * live).amax(),
        log_ratio=drift,
        live_tokens=live.sum().to(drift.dtype),
        value=zero,
        value_clip_share=zero,
    )


def likelihood_loss(logprobs: Tensor, weight: Tensor) -> LossTerms:
    """The weighted negative log-likelihood, -sum w log p, of supervised fine-tuning. All [S]."""
    loss = -(weight * logprobs).sum()
    zero = torch.zeros_like(loss)
    return LossTerms(
        loss=loss,
        policy=loss.detach(),
        kl=zero,
        clip_share=zero,
        ratio_max=zero,
        log_ratio=zero,
        live_tokens=zero,
        value=zero,
        value_clip_share=zero,
    )


def with_value_loss(
    terms: LossTerms, values: Tensor, old_values: Tensor, returns: Tensor, weight: Tensor, clip: float | None
) -> LossTerms:
    """The terms with the critic's loss over K values. All float32 [K]; only `values` carries a gradient.

        loss = 1/2 sum w max((V - G)^2, (V_old + clip(V - V_old, -c, c) - G)^2)

    The bound c is of the code of 1707.06347, see 2005.12729 sec. 3; without it the first square alone.
    """
    error = (values - returns).square()
    bounded = error if clip is None else (old_values + (values - old_values).clamp(-clip, clip) - returns).square()
    value = 0.5 * (weight * torch.maximum(error, bounded)).sum()
    share = (weight * (bounded > error)).sum()
    return replace(terms, loss=terms.loss + value, value=value.detach(), value_clip_share=share)


def summed(all_terms: Sequence[LossTerms]) -> dict[str, float]:
    """The sum of each term over a step's micro-batches, but the largest ratio_max. One transfer from the device."""
    names = [field.name for field in fields(LossTerms)]
    table = torch.stack([torch.stack([getattr(terms, name).detach() for name in names]) for terms in all_terms]).cpu()
    totals = dict(zip(names, table.double().sum(0).tolist(), strict=True))
    return totals | {"ratio_max": float(table[:, names.index("ratio_max")].max())}


def clipped_surrogate(ratio: Tensor, advantage: Tensor, config: LossConfig) -> tuple[Tensor, Tensor]:
    """The clipped surrogate L, which is maximised, and where the clipped branch was taken. [S] -> [S], bool [S]

    L = min(r A, clip(r, 1 - low, 1 + high) A)    1707.06347 eq. 7 (PPO); two bounds: 2503.14476 eq. 10 (DAPO)
    L = max(that, c A) where A < 0                with `dual_clip` c, 1912.09729 eq. 5
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
    """Per token, the mean log-ratio of its row as value and its own log-ratio as gradient. [S] -> [S]

    2507.18071 eq. 7 (GSPO) in the form of eq. 14, with sg for stop-gradient:

        s_i(theta) = sg[s_i] * pi / sg[pi]

    Summed with equal weights over a row, its gradient is that of eq. 5. The mean is over the row's live tokens.
    """
    counts = torch.zeros(num_rows, dtype=log_ratio.dtype, device=log_ratio.device).index_add(
        0, segment, live.to(log_ratio.dtype)
    )  # [K]
    sums = torch.zeros_like(counts).index_add(0, segment, log_ratio.detach() * live)
    mean = (sums / counts.clamp(min=1.0))[segment]  # [S]
    return mean + log_ratio - log_ratio.detach()


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, estimator: KlEstimator) -> Tensor:
    """Per token, an estimate of KL(policy || reference) from the policy's own samples. [S] -> [S]

    With d = log pi_ref - log pi (http://joschu.net/blog/kl-approx.html):

        k1 = -d                 its gradient has mean zero: it measures the KL but does not reduce it
        k2 = d^2 / 2
        k3 = exp(d) - d - 1     2402.03300 eq. 4 (GRPO)

    All three are exactly 0 where the policies agree.
    """
    difference = (ref_logprobs - logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    if estimator == "k1":
        return -difference
    if estimator == "k2":
        return difference.square() / 2
    return torch.expm1(difference) - difference


def importance_weight(old_logprobs: Tensor, rollout_logprobs: Tensor, config: LossConfig) -> Tensor:
    """Truncated importance weight for the engine's slightly different numerics. [S] -> [S], no gradient

        min(pi_old / pi_engine, cap)

    Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training", eq. TIS.
    """
    return (old_logprobs - rollout_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp().clamp(max=config.importance_cap)


def truncated_ratio(ratio: Tensor, config: LossConfig) -> Tensor:
    """min(r, cap) of r = pi / pi_engine as value, and as the weight of its gradient. [S] -> [S]

        sg[min(1, cap / r)] r     with sg for stop-gradient; d/dtheta = min(r, cap) d log pi / dtheta

    Yao et al. 2025 as `importance_weight`, with the policy before the update taken for the engine's.
    """
    assert config.importance_cap is not None  # `LearnerConfig` sees to it
    return ratio * (config.importance_cap / ratio.detach()).clamp(max=1.0)


def _present(inputs: LossInputs, name: Literal["ref_logprobs", "rollout_logprobs"]) -> Tensor:
    column = getattr(inputs, name)
    if column is None:
        raise ValueError(f"the loss uses {name}, the targets have none: pass them to Learner.learn")
    return column
