"""The twin of a rank: it learns preferences as torch does from whole rollouts, and is saved with the policy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.learner.reference import (
    CONFIG,
    Learners,
    assert_same_weights,
    fresh,
    off_policy,
    row_logprobs,
    save,
    slow_scores,
    weights_of,
)
from trainer import checkpoint
from trainer.config.build import ConfigError
from trainer.config.learner import LoraConfig
from trainer.data.tokens import TokenBatch
from trainer.learner.driver import Learner
from trainer.learner.twin import Twin
from trainer.scorers.implicit import ImplicitReward, preference_credit
from trainer.setup.credit import twin_config_of

pytestmark = pytest.mark.slow
BETA = 0.3
BETTER, WORSE = np.array([0, 0, 3]), np.array([1, 2, 4])  # rollout 5 is in no pair


def twin_of(learner: Learner, batch: TokenBatch) -> Twin:
    assert learner.twin is not None
    return Twin(learner.twin, batch)


def started(learners: Learners, rate: float = 0.01, **settings: object) -> Learner:
    config = replace(CONFIG, **settings)  # pyright: ignore[reportArgumentType]
    return learners.start(config, twin=twin_config_of(ImplicitReward(learning_rate=rate), config))


def credit_of(batch: TokenBatch, twin: Twin, policy: np.ndarray) -> np.ndarray:
    rewards = BETA * np.add.reduceat(twin.logprobs() - policy, batch.response_starts[:-1])
    total = np.bincount(batch.trajectory, rewards)
    return BETA * preference_credit(total, BETTER, WORSE)[batch.trajectory]


@pytest.mark.parametrize(("world_size", "zero_stage"), [(1, 1), (2, 3)])
def test_two_steps_on_preferences_equal_those_of_torch(
    learners: Learners, batch: TokenBatch, model_folder: Path, tmp_path: Path, world_size: int, zero_stage: int
) -> None:
    learner = started(learners, world_size=world_size, zero_stage=zero_stage)
    twin, model = twin_of(learner, batch), fresh(model_folder)
    policy = slow_scores(model, batch, CONFIG.temperature) + np.float32(0.1) * batch.response_index(
        np.arange(batch.num_rows)
    ).astype(np.float32)  # not the twin's: the second margins differ from the first
    matrices = [one for one in model.parameters() if one.ndim >= 2]
    vectors = [one for one in model.parameters() if one.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": CONFIG.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.01, betas=CONFIG.betas)
    for _ in range(2):
        twin.ascend(credit_of(batch, twin, policy))
        total = torch.zeros(6)
        for row in range(batch.num_rows):
            own = torch.from_numpy(policy[batch.response_index(np.array([row]))])
            ratio = (row_logprobs(model, batch, row, CONFIG.temperature)[0] - own).sum()
            total = total.index_add(0, torch.tensor([batch.trajectory[row]]), BETA * ratio[None])
        optimizer.zero_grad()
        (-torch.nn.functional.logsigmoid(total[BETTER] - total[WORSE]).mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CONFIG.grad_clip)
        optimizer.step()
    expected = slow_scores(model, batch, CONFIG.temperature)
    np.testing.assert_allclose(twin.logprobs(), expected, atol=2e-3)
    assert np.abs(twin.logprobs() - slow_scores(fresh(model_folder), batch, CONFIG.temperature)).max() > 0.05
    assert_same_weights(  # the policy has not moved
        weights_of(learner, tmp_path), dict(fresh(model_folder).named_parameters()), CONFIG.learning_rate
    )


def test_policy_and_twin_learn_as_if_alone(
    learners: Learners, batch: TokenBatch, model_folder: Path, tmp_path: Path
) -> None:
    both, alone = started(learners, world_size=2), learners.start(replace(CONFIG, world_size=2))
    policy = slow_scores(fresh(model_folder), batch, CONFIG.temperature)
    targets = off_policy(batch, policy)
    twin = twin_of(both, batch)
    twin.ascend(credit_of(batch, twin, policy))
    moved = twin.logprobs()
    for learner in (both, alone):
        learner.learn(batch, targets, seed=0)
    weights = weights_of(alone, tmp_path / "alone")
    assert_same_weights(weights_of(both, tmp_path / "both"), weights, CONFIG.learning_rate)
    np.testing.assert_array_equal(twin_of(both, batch).logprobs(), moved)


@pytest.mark.parametrize(("before", "after", "rank"), [(2, 2, None), (2, 1, None), (1, 1, 4)])
def test_a_checkpoint_brings_the_twin_back(
    learners: Learners, batch: TokenBatch, tmp_path: Path, before: int, after: int, rank: int | None
) -> None:
    policy = np.full(batch.num_response_tokens, -4.0, np.float32)
    lora = LoraConfig(rank=rank, alpha=8)
    first = started(learners, world_size=before, lora=lora)
    twin = twin_of(first, batch)
    assert twin.ascend(credit_of(batch, twin, policy)) > 0.0
    save(first, tmp_path / "state")
    assert (tmp_path / "state" / checkpoint.TWIN).is_dir()
    saved = twin.logprobs()
    twin.ascend(credit_of(batch, twin, policy))
    expected = twin.logprobs()

    resumed = started(learners, world_size=after, lora=lora)
    assert resumed.load(tmp_path / "state") == before
    twin = twin_of(resumed, batch)
    np.testing.assert_allclose(twin.logprobs(), saved, atol=1e-5)
    twin.ascend(credit_of(batch, twin, policy))
    np.testing.assert_allclose(twin.logprobs(), expected, atol=1e-3)
    assert not list(tmp_path.glob(".*universal*"))


def test_a_checkpoint_without_a_twin_is_refused_and_one_with_it_serves_a_learner_without(
    learners: Learners, batch: TokenBatch, tmp_path: Path
) -> None:
    without, with_twin = learners.start(), started(learners)
    save(without, tmp_path / "without")
    with pytest.raises(ConfigError, match=r"without holds no copy of the policy that a scorer trains.*start anew"):
        with_twin.load(tmp_path / "without")
    another = started(learners)
    another.sft(batch)
    save(another, tmp_path / "with")
    assert without.load(tmp_path / "with") == 1
    np.testing.assert_array_equal(without.score(batch).logprobs, another.score(batch).logprobs)


def test_ranks_that_serve_another_learner_have_a_new_twin(learners: Learners, batch: TokenBatch) -> None:
    first = started(learners)
    assert first.twin is not None
    begun = twin_of(first, batch).logprobs()
    twin = twin_of(first, batch)
    twin.ascend(np.where(batch.trajectory == 0, 1.0, -1.0))
    assert np.abs(twin.logprobs() - begun).max() > 0.01
    second = first.renewed(first.config, learners.model_folder, first.twin.config)
    second.join()
    np.testing.assert_array_equal(twin_of(second, batch).logprobs(), begun)


def test_a_twin_whose_gradients_are_not_finite_ends_the_run_in_one_line(learners: Learners, batch: TokenBatch) -> None:
    learner = started(learners, max_skipped_steps=1)
    twin = twin_of(learner, batch)
    with pytest.raises(
        FloatingPointError, match=r"^the scorer's copy of the policy: gradient norm inf.*: lower scorer.learning_rate"
    ) as told:
        twin.ascend(np.full(batch.num_rows, 1e36))
    assert "lower learner" not in str(told.value)
