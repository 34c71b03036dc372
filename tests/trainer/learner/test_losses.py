from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.config.learner import LossConfig
from trainer.learner.losses import (
    LossInputs,
    clipped_surrogate,
    importance_weight,
    kl_estimate,
    likelihood_loss,
    policy_loss,
    sequence_log_ratio,
    truncated_ratio,
)
from trainer.learner.token_weights import token_weights

QUARTER = LossConfig(clip_low=0.25, clip_high=0.25, kl_coef=0.0)


def inputs(logprobs: Tensor, **changes: object) -> LossInputs:
    """Two rows of two tokens on policy, equal weights, advantages +1 and -1."""
    plain = LossInputs(
        logprobs=logprobs,
        entropy=torch.zeros_like(logprobs),
        old_logprobs=logprobs.detach().clone(),
        ref_logprobs=None,
        rollout_logprobs=None,
        advantage=torch.tensor([1.0, 1.0, -1.0, -1.0]),
        weight=torch.full((4,), 0.25),
        segment=torch.tensor([0, 0, 1, 1]),
        num_rows=2,
    )
    return replace(plain, **changes)


def test_surrogate_is_clipped_only_where_that_makes_it_smaller() -> None:
    # A = 1: min(r, clip(r)) = 0.5, 1, 1.25. A = -1: min(-r, -clip(r)) = -0.75, -1, -2.
    ratio = torch.tensor([0.5, 1.0, 2.0, 0.5, 1.0, 2.0])
    surrogate, clipped = clipped_surrogate(ratio, torch.tensor([1.0, 1, 1, -1, -1, -1]), QUARTER)
    assert surrogate.tolist() == [0.5, 1.0, 1.25, -0.75, -1.0, -2.0]
    assert clipped.tolist() == [False, False, True, True, False, False]


def test_the_two_clip_bounds_are_separate() -> None:
    config = LossConfig(clip_low=0.25, clip_high=0.5, kl_coef=0.0)
    # A = 1, r = 2 -> 1.5; A = -1, r = 0.5 -> -0.75.
    surrogate, _ = clipped_surrogate(torch.tensor([2.0, 0.5]), torch.tensor([1.0, -1.0]), config)
    assert surrogate.tolist() == [1.5, -0.75]


def test_dual_clip_bounds_the_surrogate_of_negative_advantages() -> None:
    config = LossConfig(clip_low=0.25, clip_high=0.25, dual_clip=2.0, kl_coef=0.0)
    # A = -1: r = 8 -> max(-8, -2) = -2; r = 1 -> max(-1, -2) = -1. A = 1: untouched, 1.25.
    surrogate, clipped = clipped_surrogate(torch.tensor([8.0, 1.0, 8.0]), torch.tensor([-1.0, -1.0, 1.0]), config)
    assert surrogate.tolist() == [-2.0, -1.0, 1.25]
    assert clipped.tolist() == [True, False, True]


def test_a_ratio_against_the_engine_is_truncated_in_value_and_in_the_weight_of_its_gradient() -> None:
    # min(r, 2) of r = 1/2, 2, 8; d/d log pi is the same.
    logprobs = torch.tensor([0.5, 2.0, 8.0]).log().requires_grad_()
    within = truncated_ratio(logprobs.exp(), LossConfig(importance_cap=2.0))
    within.sum().backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(within.detach(), torch.tensor([0.5, 2.0, 2.0]))
    torch.testing.assert_close(logprobs.grad, torch.tensor([0.5, 2.0, 2.0]))


def test_old_logprobs_of_the_engine_bound_what_a_negative_advantage_can_weigh() -> None:
    config = replace(QUARTER, importance_cap=2.0)
    logprobs = torch.zeros(4, requires_grad=True)
    # A = 1, r = 8: clipped at 1.25, no gradient. A = -1, r = 8: -min(8, 2) = -2, with gradient.
    off = inputs(logprobs, old_logprobs=torch.full((4,), -log(8)))
    terms = policy_loss(off, config, of_engine=True)
    terms.loss.backward()
    assert terms.policy.item() == pytest.approx(-0.25 * (1.25 + 1.25 - 2.0 - 2.0))
    assert terms.ratio_max.item() == pytest.approx(8.0)
    torch.testing.assert_close(logprobs.grad, torch.tensor([0.0, 0.0, 0.5, 0.5]))


def test_below_the_cap_the_engines_logprobs_are_old_logprobs_like_any_other() -> None:
    config = replace(QUARTER, importance_cap=2.0)
    old = inputs(torch.tensor([-1.0, -2.0, -1.5, -0.5]), old_logprobs=torch.tensor([-1.1, -1.9, -1.7, -0.4]))
    assert policy_loss(old, config, of_engine=True).loss == policy_loss(old, replace(config, importance_cap=None)).loss


def test_kl_estimators_of_one_nat() -> None:
    # d = log pi_ref - log pi = 1: k1 = -1, k2 = 1/2, k3 = e - 2.
    policy, reference = torch.tensor([-2.0]), torch.tensor([-1.0])
    assert kl_estimate(policy, reference, "k1").item() == -1.0
    assert kl_estimate(policy, reference, "k2").item() == 0.5
    assert kl_estimate(policy, reference, "k3").item() == pytest.approx(exp(1) - 2, rel=1e-6)


@pytest.mark.parametrize(("estimator", "slope"), [("k1", 1.0), ("k2", -0.5), ("k3", 1 - exp(0.5))])
def test_kl_gradients(estimator: str, slope: float) -> None:
    # With d = 1/2, and d' = -1 towards log pi: k1' = 1, k2' = -d, k3' = 1 - e^d.
    policy = torch.tensor([-1.5], requires_grad=True)
    kl_estimate(policy, torch.tensor([-1.0]), estimator).sum().backward()
    assert policy.grad is not None
    assert policy.grad.item() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_of_equal_policies_is_exactly_zero(estimator: str) -> None:
    same = torch.tensor([-0.3, -7.0])
    assert kl_estimate(same, same, estimator).tolist() == [0.0, 0.0]


def test_token_weights_divide_by_all_live_tokens() -> None:
    # Rows of 1 and 4 tokens, one of them dead: 4 live tokens, 1/4 each.
    live = np.array([True, True, False, True, True])
    assert token_weights(np.array([1, 4]), live, "token").tolist() == [0.25, 0.25, 0.0, 0.25, 0.25]


def test_sequence_weights_divide_by_the_row_and_then_by_the_rows() -> None:
    # Rows of 1, 2 and 1 live tokens of 1, 2, 2; a row of none does not count: 3 rows would give 1/3, 2 rows give 1/2.
    live = np.array([True, True, True, False, False])
    assert token_weights(np.array([1, 2, 2]), live, "sequence").tolist() == [0.5, 0.25, 0.25, 0.0, 0.0]


def test_weights_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no response token"):
        token_weights(np.array([1]), np.array([False]), "token")


def test_on_policy_gradient_is_the_weighted_advantage() -> None:
    # At r = 1: d loss / d log pi = -w A.
    logprobs = torch.tensor([-1.0, -2.0, -0.5, -0.1], requires_grad=True)
    terms = policy_loss(inputs(logprobs), QUARTER)
    terms.loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-0.25, -0.25, 0.25, 0.25]
    assert (terms.loss.item(), terms.ratio_max.item(), terms.clip_share.item()) == (0, 1, 0)


def test_kl_and_entropy_enter_with_their_coefficients() -> None:
    logprobs = torch.zeros(4)
    config = LossConfig(kl_coef=0.5, kl_estimator="k2", entropy_coef=0.25)
    filled = inputs(logprobs, ref_logprobs=torch.full((4,), 2.0), entropy=torch.full((4,), 8.0))
    terms = policy_loss(filled, config)
    # policy 0; kl = 2^2 / 2 = 2; entropy 8: 0 + 0.5 * 2 - 0.25 * 8 = -1.
    assert (terms.policy.item(), terms.kl.item(), terms.loss.item()) == (0.0, 2.0, -1.0)


def test_negative_advantages_have_a_weight_of_their_own() -> None:
    logprobs = torch.tensor([-1.0, -2.0, -0.5, -0.1], requires_grad=True)
    policy_loss(inputs(logprobs), LossConfig(negative_weight=0.5, kl_coef=0.0)).loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-0.25, -0.25, 0.125, 0.125]


def test_sequence_ratio_is_the_rows_mean_over_its_live_tokens() -> None:
    log_ratio = torch.tensor([1.0, 3.0, 4.0, 100.0])
    live = torch.tensor([True, True, True, False])
    # Row 0: (1 + 3) / 2 = 2; row 1: its one live token, 4.
    assert sequence_log_ratio(log_ratio, live, torch.tensor([0, 0, 1, 1]), 2).tolist() == [2.0, 2.0, 4.0, 4.0]


def test_sequence_ratio_has_the_gradient_of_gspo() -> None:
    """Against 2507.18071 eq. 5 written out row by row, with s_i differentiated as a whole."""
    torch.manual_seed(0)
    logprobs = torch.randn(5, requires_grad=True)
    old, advantage = logprobs.detach() + 0.1 * torch.randn(5), torch.tensor([1.0, 1.0, -2.0, -2.0, -2.0])
    config = LossConfig(ratio="sequence", aggregation="sequence", kl_coef=0.0)
    rows = [slice(0, 2), slice(2, 5)]
    slow = torch.zeros(())
    for row in rows:
        ratio = (logprobs[row] - old[row]).mean().exp()
        slow = slow - torch.minimum(ratio * advantage[row][0], ratio.clamp(0.8, 1.2) * advantage[row][0]) / len(rows)
    (expected,) = torch.autograd.grad(slow, logprobs)
    weight = torch.from_numpy(token_weights(np.array([2, 3]), np.ones(5, dtype=np.bool_), "sequence"))
    segment = torch.tensor([0, 0, 1, 1, 1])
    filled = inputs(logprobs, old_logprobs=old, advantage=advantage, weight=weight, segment=segment)
    terms = policy_loss(filled, config)
    (gradient,) = torch.autograd.grad(terms.loss, logprobs)
    assert terms.loss.item() == pytest.approx(slow.item(), rel=1e-6)
    torch.testing.assert_close(gradient, expected)


def test_importance_weight_is_truncated_and_scales_the_surrogate_only() -> None:
    # old - rollout = log 2, log 8 -> 2, capped at 4.
    old, rollout = torch.tensor([log(2), log(8)]), torch.zeros(2)
    capped = LossConfig(importance_cap=4.0, kl_coef=0.0)
    assert importance_weight(old, rollout, capped).tolist() == pytest.approx([2.0, 4.0])
    logprobs = torch.zeros(4, requires_grad=True)
    config = LossConfig(importance_cap=4.0, kl_coef=1.0, kl_estimator="k1")
    doubled = inputs(logprobs, rollout_logprobs=torch.full((4,), -log(2)), ref_logprobs=torch.zeros(4))
    policy_loss(doubled, config).loss.backward()
    # -w A * 2 from the surrogate, +w from k1, which is not weighted.
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-0.25, -0.25, 0.75, 0.75])


def test_a_token_of_weight_0_changes_nothing_whatever_its_values() -> None:
    logprobs = torch.tensor([-1.0, -2.0, -0.5, -90.0], requires_grad=True)
    old, reference = torch.tensor([-1.0, -2.0, -0.5, 0.0]), torch.tensor([-1.0, -2.0, -0.5, 900.0])
    weight = torch.tensor([0.5, 0.25, 0.25, 0.0])
    config = LossConfig(kl_coef=1.0)
    terms = policy_loss(inputs(logprobs, old_logprobs=old, ref_logprobs=reference, weight=weight), config)
    terms.loss.backward()
    assert logprobs.grad is not None
    assert (terms.kl.item(), terms.ratio_max.item(), logprobs.grad[3].item()) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("config", "name"),
    [(LossConfig(kl_coef=0.1), "ref_logprobs"), (LossConfig(importance_cap=2.0, kl_coef=0.0), "rollout_logprobs")],
)
def test_a_missing_column_that_the_loss_needs_is_named(config: LossConfig, name: str) -> None:
    with pytest.raises(ValueError, match=f"uses {name}, the targets have none"):
        policy_loss(inputs(torch.zeros(4)), config)


def test_likelihood_loss_is_the_weighted_negative_log_likelihood() -> None:
    terms = likelihood_loss(torch.tensor([-1.0, -3.0]), torch.tensor([0.5, 0.5]))
    assert (terms.loss.item(), terms.kl.item()) == (2.0, 0.0)
