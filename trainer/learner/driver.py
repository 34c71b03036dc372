"""The driver's handle to the learner: splits work over the ranks, merges what they return in row order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from rollout.ray_actors import ActorDied, ActorSpec, Remote, gather, share, spawn
from trainer.config.learner import Aggregation, LearnerConfig
from trainer.data.tokens import Bool, Float32, Int64, Targets, TokenBatch
from trainer.learner.messages import Published, RankScores, StepStats, TokenColumns
from trainer.learner.packing import Chain, Packing, find_chains, pack_chains, split_by_trajectory
from trainer.learner.token_weights import token_weights

RANK = "trainer.learner.deepspeed_rank:LearnerRank"  # by name: the driver needs no DeepSpeed
# Without these, glibc gives freed activations back to the kernel and takes them again: a third of a CPU step.
MALLOC_ENV = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """N rows, R response tokens, in the batch's order; nats of the tempered distribution.

    logprobs, ref_logprobs: float32 [R]; the reference's only where the loss has a KL term.
    embedding: float32 [N, D], hidden state at each prompt's last token, where a layer was asked for.
    entropy: mean over the R tokens.
    """

    logprobs: Float32
    ref_logprobs: Float32 | None
    embedding: Float32 | None
    entropy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnReport:
    """One call of `learn` or `sft`; means over its optimizer steps of means over their response tokens.

    loss, policy_loss, kl: as in `losses.LossTerms`. clip_share: of the loss's tokens. ratio_max: of the policy against
    the one before the update. grad_norm: before clipping. learning_rate: of the last step. tokens: through the model;
    padded_ratio: cells over tokens; row_tokens: without chains it would have been this many.
    engine_mismatch: mean |rollout - old log-prob| over the loss's tokens, nats; None without rollout log-probs.
    """

    loss: float
    policy_loss: float
    kl: float
    clip_share: float
    ratio_max: float
    grad_norm: float
    learning_rate: float
    optimizer_steps: int
    tokens: int
    padded_ratio: float
    row_tokens: int
    engine_mismatch: float | None


class Learner:
    """Ranks in Ray actors that train one policy. A failure inside a rank ends all of them: they work in step."""

    def __init__(self, config: LearnerConfig, ranks: Sequence[Remote]) -> None:
        self.config = config
        self._ranks = list(ranks)

    @classmethod
    def start(
        cls, config: LearnerConfig, model_folder: str | Path, *, reference_folder: str | Path | None = None
    ) -> Self:
        """Spawn the ranks and load the policy; the reference is the policy as it starts unless a folder is given.

        Raises ValueError for a model of an unsupported kind, ActorDied where a rank does not come up.
        """
        folders = (str(model_folder), str(reference_folder or model_folder))
        ranks = [spawn(RANK, config, rank, *folders, spec=_actor(config, rank)) for rank in range(config.world_size)]
        learner = cls(config, ranks)
        meeting = learner._call("address")[0]
        learner._call("join", *meeting)
        return learner

    def score(self, batch: TokenBatch, *, layer: int | None = None) -> Scores:
        """Log-probs of every response and, with a layer, hidden states, in one pass over the chained rows."""
        packing = self._pack(batch, find_chains(batch))
        shared = share(batch)
        parts: list[RankScores] = self._call_each("score", [(shared, micros, layer) for micros in packing.ranks])
        tokens = np.concatenate([part.token_index for part in parts])  # [R]
        rows = np.concatenate([part.rows for part in parts])  # [N]
        return Scores(
            logprobs=_in_order(tokens, [part.logprobs for part in parts]),
            ref_logprobs=_in_order(tokens, [part.ref_logprobs for part in parts]) if self._uses_reference else None,
            embedding=None if layer is None else _in_order(rows, [part.hidden for part in parts]),
            entropy=float(np.concatenate([part.entropy for part in parts]).mean(dtype=np.float64)),
        )

    def learn(self, batch: TokenBatch, targets: Targets, *, seed: int) -> LearnReport:
        """`config.optimizer_steps` optimizer steps over the rows in the mask, split by trajectory in the seed's order.

        Without KL and entropy terms only advantages have a gradient: what has an advantage of 0, or one below 0 that
        weighs nothing, is counted, not run.
        Raises ValueError where targets do not fit the batch or the loss, or leave fewer trajectories than steps.
        """
        targets.check_fits(batch)
        loss, live = self.config.loss, targets.live_tokens(batch)
        for name, used in (("ref_logprobs", loss.kl_coef > 0), ("rollout_logprobs", loss.importance_cap is not None)):
            if used and getattr(targets, name) is None:
                raise ValueError(f"this loss uses {name} and the targets have none: pass them, or change the loss")
        minibatches = _minibatches(batch, live, self.config.optimizer_steps, seed)
        columns = TokenColumns(
            advantage=np.repeat(targets.advantage, batch.response_lens),
            weight=_weights(batch, live, minibatches, loss.aggregation),
            old_logprobs=targets.old_logprobs,
            ref_logprobs=targets.ref_logprobs if loss.kl_coef > 0 else None,
            rollout_logprobs=targets.rollout_logprobs if loss.importance_cap is not None else None,
        )
        if loss.kl_coef == loss.entropy_coef == 0:
            credit = targets.advantage if loss.negative_weight > 0 else targets.advantage.clip(min=0)
            minibatches = [_with_credit(chains, credit) for chains in minibatches]
        report = self._optimize("learn", batch, columns, minibatches)
        if targets.rollout_logprobs is None:
            return report
        mismatch = np.abs(targets.rollout_logprobs - targets.old_logprobs)[live].mean(dtype=np.float64)
        return replace(report, engine_mismatch=float(mismatch))

    def sft(self, batch: TokenBatch, *, optimizer_steps: int = 1, seed: int = 0) -> LearnReport:
        """Optimizer steps of the responses' mean negative log-likelihood per token, at temperature 1."""
        live = np.ones(batch.num_response_tokens, dtype=np.bool_)
        minibatches = _minibatches(batch, live, optimizer_steps, seed)
        return self._optimize("sft", batch, _weights(batch, live, minibatches, "token"), minibatches)

    def publish(self, folder: str | Path, version: int) -> Published:
        """Write the weights for the engines into `folder` (shared memory, where it is local)."""
        return self._call("publish", str(folder), version)[0]

    def save(self, folder: str | Path) -> None:
        """Write everything a later learner needs to go on exactly from here; all ranks must see the folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._call("save", str(folder))

    def load(self, folder: str | Path) -> None:
        """Go on from `save`. Raises ValueError for a checkpoint of another layout; call it right after `start`."""
        self._call("load", str(folder))

    def export(self, folder: str | Path) -> None:
        """Write the policy as a Hugging Face folder."""
        self._call("export", str(folder))

    def close(self) -> None:
        """End the ranks. Without effect the second time."""
        for rank in self._ranks:
            rank.kill()
        self._ranks = []

    @property
    def _uses_reference(self) -> bool:
        return self.config.loss.kl_coef > 0

    def _pack(self, batch: TokenBatch, chains: Sequence[Chain]) -> Packing:
        return pack_chains(batch, chains, token_budget=self.config.token_budget, world_size=self.config.world_size)

    def _optimize(
        self, method: str, batch: TokenBatch, columns: TokenColumns | Float32, minibatches: Sequence[Sequence[Chain]]
    ) -> LearnReport:
        """Run `learn` or `sft` on all ranks, minibatch by minibatch, and merge their sums."""
        packings = [self._pack(batch, chains) for chains in minibatches]
        shared, shared_columns = share(batch), share(columns)
        parts: list[list[StepStats]] = self._call_each(
            method,
            [
                (shared, shared_columns, [packing.ranks[rank] for packing in packings])
                for rank in range(self.config.world_size)
            ],
        )
        return _merged(parts, packings)

    def _call(self, method: str, *arguments: Any) -> list[Any]:
        return self._call_each(method, [arguments] * self.config.world_size)

    def _call_each(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call all ranks, each with its own arguments, and wait for all."""
        if not self._ranks:
            raise ActorDied(f"{method}: this learner was closed, or ended after an error; start another")
        try:
            return gather([rank.submit(method, *mine) for rank, mine in zip(self._ranks, arguments, strict=True)])
        except ActorDied as error:
            self.close()
            raise ActorDied(
                f"a learner rank died during {method}; resume from the last checkpoint ({error})"
            ) from error
        except BaseException:
            self.close()  # the other ranks would wait in a collective for the one that failed
            raise


def _minibatches(batch: TokenBatch, live: Bool, parts: int, seed: int) -> list[list[Chain]]:
    """Chains of the rows with any token in the loss, split into optimizer steps."""
    rows = np.flatnonzero(np.add.reduceat(live, batch.response_starts[:-1]))
    if len(rows) == 0:
        raise ValueError("no response token is in the loss: row_mask or token_mask leave nothing to learn from")
    return split_by_trajectory(batch, find_chains(batch, rows), parts=parts, seed=seed)


def _with_credit(chains: Sequence[Chain], credit: Float32) -> list[Chain]:
    """Those with credit in any of their rows; one in any case, as the optimizer steps without a gradient too."""
    return [chain for chain in chains if np.any(credit[list(chain)])] or list(chains[:1])


def _weights(
    batch: TokenBatch, live: Bool, minibatches: Sequence[Sequence[Chain]], aggregation: Aggregation
) -> Float32:
    """`token_weights` of each optimizer step, in one column; tokens of rows left out weigh 0. [R]"""
    weight = np.zeros(batch.num_response_tokens, dtype=np.float32)
    for chains in minibatches:
        rows = np.array([row for chain in chains for row in chain], dtype=np.int64)
        tokens = batch.response_index(rows)
        weight[tokens] = token_weights(batch.response_lens[rows], live[tokens], aggregation)
    return weight


def _merged(parts: Sequence[Sequence[StepStats]], packings: Sequence[Packing]) -> LearnReport:
    """Sums over ranks, means over optimizer steps; norm and rate are the same on every rank."""

    def total(name: str) -> float:
        return sum(getattr(step, name) for rank in parts for step in rank) / len(packings)

    tokens = sum(packing.real_tokens for packing in packings)
    return LearnReport(
        loss=total("loss"),
        policy_loss=total("policy"),
        kl=total("kl"),
        clip_share=total("clip_share"),
        ratio_max=max(step.ratio_max for rank in parts for step in rank),
        grad_norm=sum(step.grad_norm for step in parts[0]) / len(packings),
        learning_rate=parts[0][-1].learning_rate,
        optimizer_steps=len(packings),
        tokens=tokens,
        padded_ratio=sum(packing.padded_tokens for packing in packings) / tokens,
        row_tokens=sum(packing.row_tokens for packing in packings),
        engine_mismatch=None,
    )


def _in_order(index: Int64, parts: Sequence[Float32 | None]) -> Float32:
    """The ranks' values, put where `index` says. [len(index), ...]"""
    values = np.concatenate([part for part in parts if part is not None])
    ordered = np.empty_like(values)
    ordered[index] = values
    return ordered


def _actor(config: LearnerConfig, rank: int) -> ActorSpec:
    """What a rank's process takes; Ray shows a GPU rank its own device only, as number 0."""
    env = {
        "RANK": str(rank),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(config.world_size),
        "LOCAL_WORLD_SIZE": str(config.world_size),
        "LOCAL_SIZE": str(config.world_size),
        "DS_ACCELERATOR": config.device,
        "OMP_NUM_THREADS": str(config.threads),
        "GOMP_SPINCOUNT": "1000",  # a spinning thread takes the core another process could use
        "HF_HUB_OFFLINE": "1",
        **MALLOC_ENV,
    }
    return ActorSpec(num_gpus=config.gpus, env=env)
