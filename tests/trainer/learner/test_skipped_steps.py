"""Optimizer steps whose gradient is not finite: skipped, counted, told."""

from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.learner.reference import (
    CONFIG,
    Starter,
    off_policy,
)
from trainer.data.tokens import Targets, TokenBatch
from trainer.learner.driver import GradientNotFinite
from trainer.learner.first_ratio import check_learned

pytestmark = pytest.mark.slow


def unbounded(batch: TokenBatch) -> Targets:
    """Finite targets whose loss overflows: a ratio of exp(8) or more times an advantage near float32's largest."""
    targets = off_policy(batch, np.full(batch.num_response_tokens, -16.0, dtype=np.float32))
    return replace(targets, advantage=np.full(batch.num_rows, -3e38, np.float32))


@pytest.mark.parametrize(("stage", "ranks"), [(0, 2), (1, 1), (2, 2), (3, 1)])
def test_a_step_whose_gradient_is_not_finite_is_skipped_as_if_it_had_never_been(
    start: Starter, batch: TokenBatch, stage: int, ranks: int
) -> None:
    config = replace(CONFIG, zero_stage=stage, world_size=ranks, warmup_steps=2)
    targets = off_policy(batch, np.zeros(batch.num_response_tokens, dtype=np.float32))
    steady, struck = start(config), start(config)
    report = struck.learn(batch, unbounded(batch), seed=0)
    assert (report.optimizer_steps, report.skipped_steps, np.isnan(report.grad_norm)) == (0, 1, True)
    after, expected = (learner.learn(batch, targets, seed=0) for learner in (struck, steady))
    assert after == expected
    assert (after.optimizer_steps, after.skipped_steps) == (1, 0)
    assert struck.score(batch).logprobs.tolist() == steady.score(batch).logprobs.tolist()


def test_an_update_whose_steps_were_all_skipped_says_nothing_of_the_engine(start: Starter, batch: TokenBatch) -> None:
    learner = start(replace(CONFIG, old_logprobs="engine", loss=replace(CONFIG.loss, importance_cap=2.0)))
    report = learner.learn(batch, unbounded(batch), seed=0)
    assert (report.optimizer_steps, report.engine_mismatch) == (0, None)
    check_learned(report, learner.config)


def test_as_many_skipped_steps_in_a_row_as_may_be_end_the_run_and_others_do_not(
    start: Starter, batch: TokenBatch
) -> None:
    learner = start(replace(CONFIG, max_skipped_steps=2))
    targets = off_policy(batch, np.zeros(batch.num_response_tokens, dtype=np.float32))
    for wrong in (True, False, True):
        learner.learn(batch, unbounded(batch) if wrong else targets, seed=0)
    with pytest.raises(GradientNotFinite, match=r"gradient norm inf in 2 optimizer steps in a row \(learner.max_skipp"):
        learner.learn(batch, unbounded(batch), seed=0)


@pytest.mark.parametrize(("stage", "ranks"), [(0, 2), (1, 1), (2, 2), (3, 1), (3, 2)])
def test_an_update_that_is_run_again_tells_which_rows_and_which_parameter_are_not_finite(
    start: Starter, batch: TokenBatch, stage: int, ranks: int
) -> None:
    config = replace(CONFIG, zero_stage=stage, world_size=ranks, optimizer_steps=3)
    targets = off_policy(batch, np.zeros(batch.num_response_tokens, dtype=np.float32))
    broken = int(np.flatnonzero(targets.row_mask)[-1])
    advantage = targets.advantage.copy()
    advantage[broken] = -3e38
    old_logprobs = targets.old_logprobs.copy()
    old_logprobs[batch.response_index(np.array([broken]))] = -16.0
    struck = replace(targets, advantage=advantage, old_logprobs=old_logprobs)
    replayed, plain = start(config), start(config)
    steps = list(replayed.replay(batch, struck, seed=0))
    assert [step.skipped for step in steps] == [broken in step.rows for step in steps]
    assert sum(step.skipped for step in steps) == 1
    assert [[one.row for one in step.broken] for step in steps] == [[broken] if step.skipped else [] for step in steps]
    (row,) = (row for step in steps for row in step.broken)
    assert row.loss == np.inf
    assert row.log_ratio > 8
    assert row.parameter == "model.norm.weight"
    # Nothing else of the update is changed by the search.
    report = plain.learn(batch, struck, seed=0)
    taken = [step for step in steps if not step.skipped]
    assert np.mean([step.loss for step in taken]) == report.loss
    assert np.mean([step.grad_norm for step in taken]) == report.grad_norm
    assert replayed.score(batch).logprobs.tolist() == plain.score(batch).logprobs.tolist()
