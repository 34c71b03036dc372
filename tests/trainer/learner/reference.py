"""Learners for the tests, and what they are held against: Hugging Face's forward and torch's AdamW, row by row."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from estimators import Unit
from rollout.transfer import Route, WholeFile
from tests.trainer.forked import fork_ranks
from trainer.config.learner import LearnerConfig, LossConfig
from trainer.data.tokens import Targets, TokenBatch
from trainer.learner.driver import Learner
from trainer.learner.losses import LossInputs, policy_loss
from trainer.learner.reports import LearnReport
from trainer.learner.token_weights import token_weights

CONFIG = LearnerConfig(
    zero_stage=1,
    learning_rate=0.01,
    token_budget=40,
    optimizer_steps=1,
    temperature=0.7,
    loss=LossConfig(kl_coef=0.1, entropy_coef=0.01),
)
LIMIT_S = 60.0
Starter = Callable[..., Learner]


class Learners:
    """Starts learners with forked ranks, and ends them all."""

    def __init__(self, patch: pytest.MonkeyPatch, model_folder: Path) -> None:
        fork_ranks(patch)
        self.patch, self.model_folder = patch, model_folder
        self.started: list[Learner] = []

    def start(
        self,
        config: LearnerConfig = CONFIG,
        folder: Path | None = None,
        layer: int | None = None,
        critic: Unit | None = None,
        twin: LearnerConfig | None = None,
    ) -> Learner:
        folder = folder or self.model_folder
        self.started.append(Learner.start(config, folder, layer=layer, critic=critic, twin=twin))
        return self.started[-1]

    def watched(self, config: LearnerConfig) -> Learner:
        """As `start`; the ranks also answer to `gradient`."""
        self.patch.setattr("trainer.learner.driver.RANK", "tests.trainer.watched_rank:WatchedRank")
        return self.start(config)

    def close(self) -> None:
        for learner in self.started:
            learner.close()


def row_logprobs(model: PreTrainedModel, batch: TokenBatch, row: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies of one row's response, from a forward of that row alone. [response_len]"""
    ids = torch.from_numpy(batch.row(row).astype(np.int64))[None]
    prompt_len = int(batch.prompt_lens[row])
    table = (model(input_ids=ids, use_cache=False).logits[0, prompt_len - 1 : -1] / temperature).log_softmax(-1)
    return table.gather(1, ids[0, prompt_len:, None])[:, 0], -(table.exp() * table).sum(-1)


def slow_scores(model: PreTrainedModel, batch: TokenBatch, temperature: float) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([row_logprobs(model, batch, row, temperature)[0] for row in range(batch.num_rows)]).numpy()


def off_policy(batch: TokenBatch, logprobs: np.ndarray) -> Targets:
    """Targets a little off the policy, so that ratio, clip, KL and both masks all matter."""
    random = np.random.default_rng(0)
    noise = lambda: 0.2 * random.standard_normal(len(logprobs)).astype(np.float32)  # noqa: E731
    return Targets(
        advantage=random.standard_normal(batch.num_rows),
        row_mask=np.arange(batch.num_rows) % 5 != 1,
        old_logprobs=logprobs + noise(),
        ref_logprobs=logprobs + noise(),
        rollout_logprobs=logprobs + noise(),
        token_mask=random.random(len(logprobs)) < 0.9,
    )


def on_policy(batch: TokenBatch, logprobs: np.ndarray) -> Targets:
    random = np.random.default_rng(0)
    advantage, mask = random.standard_normal(batch.num_rows), np.ones(batch.num_rows, dtype=np.bool_)
    return Targets(advantage=advantage, row_mask=mask, old_logprobs=logprobs, ref_logprobs=logprobs)


def slow_learn(model: PreTrainedModel, batch: TokenBatch, targets: Targets, config: LearnerConfig) -> float:
    """One optimizer step, in place: losses added up, one backward, torch's clip and AdamW. Returns the loss."""
    live = targets.live_tokens(batch)
    weight = token_weights(batch.response_lens, live, config.loss.aggregation)
    total = torch.zeros(())
    for row in range(batch.num_rows):
        tokens = batch.response_index(np.array([row]))
        logprobs, entropy = row_logprobs(model, batch, row, config.temperature)
        ref, rollout = targets.ref_logprobs, targets.rollout_logprobs
        assert ref is not None
        assert rollout is not None
        inputs = LossInputs(
            logprobs=logprobs,
            entropy=entropy,
            old_logprobs=torch.from_numpy(targets.old_logprobs[tokens]),
            ref_logprobs=torch.from_numpy(ref[tokens]),
            rollout_logprobs=torch.from_numpy(rollout[tokens]),
            advantage=torch.full((len(tokens),), float(targets.advantage[row])),
            weight=torch.from_numpy(weight[tokens]),
            segment=torch.zeros(len(tokens), dtype=torch.int64),
            num_rows=1,
        )
        total = total + policy_loss(inputs, config.loss).loss
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
    optimizer.step()
    return total.item()


def weights_of(learner: Learner, folder: Path) -> dict[str, Tensor]:
    return load_file(published(learner, folder, 1).path)


def published(learner: Learner, folder: Path, version: int) -> WholeFile:
    """The file of one publish."""
    learner.route = Route(way="file", folder=folder)
    (bucket,) = learner.buckets(version, LIMIT_S)
    assert isinstance(bucket.handle, WholeFile)
    return bucket.handle


def assert_same_weights(weights: dict[str, Tensor], expected: dict[str, Tensor], learning_rate: float) -> None:
    """Adam's first step is lr * sign(g): a gradient at rounding level may flip its sign, so a few may differ."""
    assert weights.keys() == expected.keys()
    difference = torch.cat([(weights[name] - expected[name]).flatten().abs() for name in weights])
    assert (difference > 0.01 * learning_rate).double().mean() < 1e-3
    assert difference.mean() < 1e-3 * learning_rate


def fresh(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def save(learner: Learner, folder: Path) -> None:
    learner.begin_save(folder)
    assert learner.save_fault(wait=True) is None


def resumed_exactly(start: Starter, config: LearnerConfig, batch: TokenBatch, tmp_path: Path) -> LearnReport:
    """A learner that is resumed from `state` goes on as one that never stopped. Returns the report after it."""
    targets = off_policy(batch, np.full(batch.num_response_tokens, -4.0, dtype=np.float32))
    uninterrupted = start(config)
    uninterrupted.learn(batch, targets, seed=0)
    uninterrupted.begin_save(tmp_path / "state")
    expected = uninterrupted.learn(batch, targets, seed=1)  # while the files are written
    assert uninterrupted.save_fault(wait=True) is None
    weights = weights_of(uninterrupted, tmp_path / "first")
    uninterrupted.close()

    resumed = start(config)
    resumed.load(tmp_path / "state")
    assert resumed.learn(batch, targets, seed=1) == expected
    for name, tensor in weights_of(resumed, tmp_path / "second").items():
        assert torch.equal(tensor, weights[name]), name
    return expected
