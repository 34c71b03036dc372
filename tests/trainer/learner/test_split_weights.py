"""ZeRO-3 with weights that are split over the ranks, gathered for each layer and released: as one whole rank."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.learner.reference import CONFIG, Learners, assert_same_weights, off_policy, weights_of
from trainer.config.learner import LoraConfig
from trainer.data.tokens import TokenBatch
from trainer.learner import driver

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("lora", [LoraConfig(), LoraConfig(rank=4, alpha=8)], ids=["all weights", "an adapter"])
def test_split_weights_learn_as_whole_ones_do(
    learners: Learners,
    batch: TokenBatch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lora: LoraConfig,
    checkpointing: bool,
) -> None:
    config = replace(CONFIG, lora=lora, gradient_checkpointing=checkpointing)
    whole = learners.start(replace(config, world_size=1))
    monkeypatch.setattr(driver, "RANK", "tests.trainer.split_rank:SplitRank")
    split = learners.start(replace(config, world_size=2, zero_stage=3))
    assert [rank.call("kept_whole") for rank in split.ranks] == [0, 0]
    targets = off_policy(batch, np.full(batch.num_response_tokens, -4.0, dtype=np.float32))
    for update in range(2):
        ours, theirs = (learner.score(batch, layer=-2) for learner in (split, whole))
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=2e-4)
        np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=2e-4)
        first, second = (learner.learn(batch, targets, seed=update) for learner in (split, whole))
        assert first.loss == pytest.approx(second.loss, abs=1e-4)
        ours, theirs = (weights_of(one, tmp_path / f"{update}{one.config.world_size}") for one in (split, whole))
        assert_same_weights(ours, theirs, 10 * config.learning_rate)
