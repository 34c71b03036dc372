"""GRPO-lambda: compared with the double sum over turns, worked examples and limiting cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import StepBatch, build

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def slow(batch, decay, style, clamp):
    """Each turn's difference A_E, handed back to every turn before it by the trace that is left of it."""
    episode = build("grpo")(batch).value
    result = np.zeros(len(batch))
    for i in range(len(batch)):
        length = int((batch.trajectory == batch.trajectory[i]).sum())
        difference = episode[i] if clamp is None else max(episode[i], -clamp)
        for t in range(batch.time[i], length):
            near, early = decay ** int(t - batch.time[i]), decay ** int(batch.time[i])
            result[i] += difference * (near if style == "recent" else max(near, early))
    return result


@given(
    seed=SEED,
    lengths=LENGTHS,
    gamma=st.sampled_from([0.5, 1.0]),
    trace=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    style=st.sampled_from(["recent", "both"]),
    clamp=st.sampled_from([None, 0.0, 0.1]),
)
def test_grpo_lambda_equals_the_double_sum(random_columns, seed, lengths, gamma, trace, style, clamp):
    batch = StepBatch(**random_columns(seed, lengths))
    fast = build("grpo_lambda", gamma=gamma, trace=trace, style=style, clamp=clamp)(batch).value
    np.testing.assert_allclose(fast, slow(batch, gamma * trace, style, clamp), rtol=1e-9, atol=1e-9)


def test_early_turns_collect_the_differences_of_later_ones(rows):
    # A_E = +-sqrt(1/2) for two rollouts. Decay 1/2, three turns: 1 + 1/2 + 1/4, 1 + 1/2, 1. The failure is clamped.
    batch = rows(trajectory=[0, 0, 0, 1], time=[0, 1, 2, 0], reward=[0.0, 0.0, 8.0, 0.0])
    result = build("grpo_lambda", trace=0.5, clamp=0.25)(batch)
    top = np.sqrt(0.5)
    assert result.value.tolist() == pytest.approx([1.75 * top, 1.5 * top, top, -0.25], abs=1e-6)
    assert result.diagnostics == {"flat_group_share": 0.0, "clamped_share": 0.25}


@given(seed=SEED, lengths=LENGTHS)
def test_without_a_trace_it_is_grpo_and_with_a_whole_one_grpo_times_the_turns_left(random_columns, seed, lengths):
    batch = StepBatch(**random_columns(seed, lengths))
    episode = build("grpo")(batch).value
    assert build("grpo_lambda", trace=0.0, clamp=None)(batch).value.tolist() == episode.tolist()
    left = batch.rollouts.size[batch.rollouts.label] - batch.time
    whole = build("grpo_lambda", trace=1.0, clamp=None)(batch).value
    np.testing.assert_allclose(whole, episode * left, rtol=1e-12)


def test_the_defaults_are_the_papers_as_far_as_they_are_known():
    estimator = build("grpo_lambda")
    assert (estimator.gamma, estimator.trace, estimator.style, estimator.clamp) == (1.0, 0.95, "recent", 0.1)
