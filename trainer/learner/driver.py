"""The learner as the driver sees it: work is split over the ranks, and their results are merged in row order."""

import secrets
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from estimators import Unit
from rollout.placement import Place
from rollout.ray_actors import ActorDied, Call, Remote, gather, share, spawn
from rollout.ray_cluster import check_room
from rollout.transfer import Bucket, Deadline, GpuBuffer, Meeting, Route
from trainer.config.build import ConfigError
from trainer.config.learner import Aggregation, LearnerConfig
from trainer.data.tokens import Bool, Float32, Int64, Targets, TokenBatch
from trainer.learner.messages import (
    CheckpointMismatch,
    CriticColumns,
    RankScores,
    ReplayedStep,
    StepStats,
    TokenColumns,
)
from trainer.learner.packing import Chain, Packing, find_chains, pack_chains, split_by_trajectory
from trainer.learner.ranks import rank_specs
from trainer.learner.reports import LearnReport, Scores, merged
from trainer.learner.token_weights import token_weights

RANK = "trainer.learner.deepspeed_rank:LearnerRank"  # by name: the driver needs no DeepSpeed
TWIN_RANK = "trainer.learner.twin_rank:TwinRank"
CLOSING_S = 60.0  # for ranks to give back what a publish took
STEPS_A_CALL = 32  # optimizer steps between two signs of life
# torch's errors by name, as this room does not import it, and what has become of the rank that raises one.
_GONE = {"AcceleratorError": "lost its GPU", "DistBackendError": "lost touch with the others"}


class GradientNotFinite(FloatingPointError):
    """Too many optimizer steps in a row had a gradient that is not finite."""


class OutOfMemory(RuntimeError):
    """A rank's device has no room for a micro-batch."""


class TwinOf(Remote):
    """The twin in the process of a rank, as a rank of its own."""

    def __init__(self, rank: Remote) -> None:
        self._rank = rank

    def submit(self, method: str, *args: Any, **kwargs: Any) -> Call:
        return self._rank.submit("of_twin", method, *args, **kwargs)

    def kill(self) -> None:
        self._rank.kill()


class Learner:
    """Ranks in Ray actors that train one policy together. If one rank fails, all of them are ended.

    It starts in two parts: `reserve` gives each rank a GPU of its own, `join` loads the models. In between the engines
    that share these GPUs can start and go to sleep.
    """

    def __init__(
        self,
        config: LearnerConfig,
        ranks: Sequence[Remote],
        places: Sequence[Place] = (),
        twin: LearnerConfig | None = None,
    ) -> None:
        """places: the GPU of each rank; empty on CPUs. twin: how the ranks train their twin; None: they have none."""
        self.config = config
        self.ranks = list(ranks)
        self.places = tuple(places)
        self.route = Route(way="file")
        self.critic: Unit | None = None
        self.twin = None if twin is None else Learner(twin, [TwinOf(rank) for rank in self.ranks])
        self._skipped_in_a_row = 0

    @classmethod
    def start(
        cls,
        config: LearnerConfig,
        model_folder: str | Path,
        *,
        layer: int | None = None,
        critic: Unit | None = None,
        twin: LearnerConfig | None = None,
        timeout_s: float | None = None,
    ) -> Self:
        """`reserve` and `join` at once, for a learner that shares its GPUs with nobody."""
        learner = cls.reserve(config, model_folder, twin=twin, timeout_s=timeout_s)
        learner.join(layer=layer, critic=critic, timeout_s=timeout_s)
        return learner

    @classmethod
    def reserve(
        cls,
        config: LearnerConfig,
        model_folder: str | Path,
        *,
        twin: LearnerConfig | None = None,
        timeout_s: float | None = None,
    ) -> Self:
        """Spawn the ranks; on GPUs, wait until each has one. Nothing is put on a GPU yet.

        twin: how the ranks also train a copy of the policy for a scorer; None: there is none. Raises NoPlace where the
        cluster has fewer GPUs than ranks, StartFailed where a rank does not start, and ActorTimeout where one has no
        GPU in time.
        """
        specs = rank_specs(config)
        check_room(specs)
        made_of = _made_of(model_folder, twin)
        kind = RANK if twin is None else TWIN_RANK
        ranks = [spawn(kind, config, rank, *made_of, spec=spec) for rank, spec in enumerate(specs)]
        learner = cls(config, ranks, twin=twin)
        if config.device == "cuda":
            with learner._ended_on_error("start"):
                learner.places = tuple(gather([rank.ask_place() for rank in learner.ranks], timeout_s))
        return learner

    def renewed(self, config: LearnerConfig, model_folder: str | Path, twin: LearnerConfig | None = None) -> Self:
        """Another learner in the processes of these ranks, to be joined as one that was reserved.

        config: with the same `rank_specs`. twin: given exactly if this learner has a twin. Raises ActorDied where the
        ranks are gone.
        """
        if not self.ranks:
            raise ActorDied("this learner was closed, or ended after an error")
        made_of = _made_of(model_folder, twin)
        with self._ended_on_error("renew"):
            gather([rank.renew(config, number, *made_of) for number, rank in enumerate(self.ranks)])
        return type(self)(config, self.ranks, self.places, twin)

    def join(self, *, layer: int | None = None, critic: Unit | None = None, timeout_s: float | None = None) -> None:
        """Connect the ranks and load the models. layer: whose hidden states will be asked for.

        critic: what a critic beside the policy (`Critic`) gives values to; None: there is none.
        timeout_s: for the ranks to answer, and again for them to load. Raises StartFailed if a rank does not start,
        such as for an unsupported kind of model or for a layer that it does not have, and ActorTimeout.
        """
        with self._ended_on_error("address"):
            (meeting,) = gather([self.ranks[0].submit("address")], timeout_s)
        self.critic = critic
        self._call("join", *meeting, layer, critic, timeout_s=timeout_s)

    def score(self, batch: TokenBatch, *, layer: int | None = None) -> Scores:
        """Log-probs of every response token, hidden states if a layer is given, and the values of a critic.

        They come from one pass over the chains. Where the engine's log-probs are the old ones and there is no critic,
        the pass goes no further than `layer`, or is not made.
        """
        takes_all = self.config.old_logprobs == "learner"
        if not (takes_all or self._uses_reference or self.critic or layer is not None):
            return Scores(logprobs=None, ref_logprobs=None, embedding=None, entropy=None)
        packing = self._pack(batch, find_chains(batch))
        shared = share(batch)
        parts: list[RankScores] = self._call_each("score", [(shared, micros, layer) for micros in packing.ranks])
        tokens = np.concatenate([part.token_index for part in parts])  # [R]
        rows = np.concatenate([part.rows for part in parts])  # [N]
        entropies = [part.entropy for part in parts if part.entropy is not None]
        return Scores(
            logprobs=_in_order(tokens, [part.logprobs for part in parts]) if takes_all else None,
            ref_logprobs=_in_order(tokens, [part.ref_logprobs for part in parts]) if self._uses_reference else None,
            embedding=None if layer is None else _in_order(rows, [part.hidden for part in parts]),
            entropy=float(np.concatenate(entropies).mean(dtype=np.float64)) if takes_all else None,
            values=_in_order(tokens if self.critic == "token" else rows, [part.values for part in parts])
            if self.critic
            else None,
        )

    def learn(self, batch: TokenBatch, targets: Targets, *, seed: int) -> LearnReport:
        """Take `config.steps_of` optimizer steps over the rows in the mask.

        Each step gets whole trajectories, drawn in the seed's order. Without a critic, in a loss without KL and entropy
        terms, a row whose weighted advantages are 0 has no gradient: it counts in the denominators but does not go
        through the model.
        Raises ValueError if the targets do not fit the batch or the loss, or leave fewer trajectories than steps, and
        GradientNotFinite after `config.max_skipped_steps` skipped steps in a row, those of earlier calls included.
        """
        columns, minibatches = self._prepared(batch, targets, seed)
        report = self._optimize("learn", batch, columns, minibatches)
        if self.config.old_logprobs == "engine":
            # where every step was skipped, nothing was measured
            return replace(report, engine_mismatch=report.first_ratio_error if report.optimizer_steps else None)
        if targets.rollout_logprobs is None:
            return report
        live = targets.live_tokens(batch)
        mismatch = np.abs(targets.rollout_logprobs - targets.old_logprobs)[live].mean(dtype=np.float64)
        return replace(report, engine_mismatch=float(mismatch))

    def replay(self, batch: TokenBatch, targets: Targets, *, seed: int) -> Iterator[ReplayedStep]:
        """Take the optimizer steps of `learn` one by one. Where a gradient is not finite, find the rows it comes from.

        Raises ValueError as `learn` does. No number of skipped steps ends it.
        """
        columns, minibatches = self._prepared(batch, targets, seed)
        shared, shared_columns = share(batch), share(columns)
        for chains in minibatches:
            ranks = self._pack(batch, chains).ranks
            parts = self._call_each("learn", [(shared, shared_columns, [micros]) for micros in ranks])
            (step,) = zip(*parts, strict=True)
            rows = tuple(row for chain in chains for row in chain)
            skipped = step[0].skipped
            yield ReplayedStep(
                rows=rows,
                loss=sum(one.loss for one in step),
                grad_norm=step[0].grad_norm,
                skipped=skipped,
                broken=self._call("examine", shared, shared_columns, rows)[0] if skipped else (),
            )

    def _prepared(
        self, batch: TokenBatch, targets: Targets, seed: int
    ) -> tuple[TokenColumns, Sequence[Sequence[Chain]]]:
        """What the ranks need to learn, and the chains of each optimizer step. Raises ValueError as `learn` does."""
        targets.check_fits(batch)
        loss, live = self.config.loss, targets.live_tokens(batch)
        of_engine = self.config.old_logprobs == "engine"
        weighs = loss.importance_cap is not None and not of_engine
        for name, used in (("ref_logprobs", loss.kl_coef > 0), ("rollout_logprobs", weighs)):
            if used and getattr(targets, name) is None:
                raise ValueError(f"this loss uses {name} and the targets have none: pass them, or change the loss")
        if self.critic and (targets.returns is None or targets.critic != self.critic):
            raise ValueError(
                f"the targets lack the returns or values that a critic of a {self.critic} learns from: an estimator "
                "that needs values gives Advantages(returns=...), of tokens with token_value=..."
            )
        rows = _rows_in_loss(batch, live)
        steps = self.config.steps_of(rows=len(rows), rollouts=len(np.unique(batch.trajectory[rows])))
        minibatches = split_by_trajectory(batch, find_chains(batch, rows), parts=steps, seed=seed)
        columns = TokenColumns(
            advantage=targets.token_credit(batch),
            weight=_weights(batch, live, minibatches, loss.aggregation),
            old_logprobs=targets.old_logprobs,
            ref_logprobs=targets.ref_logprobs if loss.kl_coef > 0 else None,
            rollout_logprobs=targets.rollout_logprobs if weighs else None,
            critic=_critic_columns(batch, targets, minibatches) if self.critic else None,
        )
        if loss.kl_coef == loss.entropy_coef == 0 and not self.critic:
            credited = _rows_with_credit(batch, targets, negative=loss.negative_weight > 0)
            minibatches = [_with_credit(chains, credited) for chains in minibatches]
        return columns, minibatches

    def sft(
        self,
        batch: TokenBatch,
        *,
        optimizer_steps: int = 1,
        seed: int = 0,
        on_steps: Callable[[int], None] = lambda steps: None,
    ) -> LearnReport:
        """Supervised fine-tuning: minimise the mean negative log-likelihood per response token, at temperature 1.

        on_steps: called with the number of optimizer steps that were taken since it was called before. Raises
        GradientNotFinite as `learn` does.
        """
        live = np.ones(batch.num_response_tokens, dtype=np.bool_)
        chains = find_chains(batch, _rows_in_loss(batch, live))
        minibatches = split_by_trajectory(batch, chains, parts=optimizer_steps, seed=seed)
        return self._optimize("sft", batch, _weights(batch, live, minibatches, "token"), minibatches, on_steps)

    def buckets(self, version: int, timeout_s: float, ranks: Collection[int] = ()) -> Generator[Bucket]:
        """The weights on their way to the engines, bucket by bucket, along `self.route`: see `Sender`.

        Raises PublishError where there is no room for them, and ActorTimeout.
        """
        limit = Deadline(timeout_s)
        # Memory of a GPU is only shared with engines on this GPU, so each of these ranks fills a buffer of its own.
        senders = ranks if self.route.way == "ipc" else (0,)
        own = [(self.route, version, rank in senders) for rank in range(self.config.world_size)]
        count = self._call_each("open_publish", own, limit.left_s)[0]
        try:
            for number in range(1, count + 1):
                packed: list[Bucket | None] = self._call("pack", number, timeout_s=limit.left_s)
                yield _joined([part for part in packed if part is not None])
        except GeneratorExit:
            if self.route.way == "nccl":
                self.close()  # the first rank may be stuck in a broadcast that nobody takes
            raise
        finally:
            if self.ranks:
                self._call("close_publish", timeout_s=CLOSING_S)

    def transmit(self, timeout_s: float) -> None:
        """Broadcast the bucket to the engines, if that is how it travels. Raises ActorTimeout."""
        if self.route.way == "nccl":
            with self._ended_on_error("transmit"):
                gather([self.ranks[0].submit("transmit")], timeout_s)

    def meeting(self, *, size: int, timeout_s: float) -> Meeting:
        """Where the first rank will meet the engines for broadcasts. size: of the group, this rank included."""
        with self._ended_on_error("expect_engines"):
            ((host, port),) = gather([self.ranks[0].submit("expect_engines")], timeout_s)
        return Meeting(host=host, port=port, size=size, timeout_s=timeout_s)

    def connect(self, meeting: Meeting) -> None:
        """Meet the engines, which must be on their way. Raises ActorTimeout where not all come."""
        with self._ended_on_error("connect"):
            gather([self.ranks[0].submit("connect", meeting)], meeting.timeout_s)

    def begin_save(self, folder: str | Path, *, export: bool = False) -> int:
        """Copy what a later learner needs to continue exactly from here, with `export` also a Hugging Face folder.

        Returns the number of ranks as soon as nothing of this is needed any more. The ranks write into `folder`, which
        all must see, while other calls run; each ends with the checksums of its files (`checksums.parts`).
        """
        self._call("begin_save", str(folder), export)
        return self.config.world_size

    def save_fault(self, *, wait: bool) -> str | None:
        """What the last `begin_save` has failed of, None if of nothing. wait: until all is written."""
        return next((fault for fault in self._call("save_fault", wait) if fault is not None), None)

    def load(self, folder: str | Path, *, converted_in: Path | None = None) -> int:
        """Continue from `begin_save`; call it right after `start`. Returns the number of ranks that wrote `folder`.

        converted_in: where one of another number of ranks is converted; None: beside it. All ranks must see it.
        Raises ConfigError where these had another ZeRO stage, dtype, adapter or base.
        """
        universal = f".{Path(folder).name}.{secrets.token_hex(4)}.universal"
        try:
            return self._call("load", str(folder), str((converted_in or Path(folder).parent) / universal))[0]
        except CheckpointMismatch as error:
            raise ConfigError(str(error)) from error

    def export(self, folder: str | Path) -> None:
        """Write the policy, with its tokenizer, as a Hugging Face folder."""
        self._call("export", str(folder))

    def close(self) -> None:
        """End the ranks. A second call does nothing."""
        for rank in self.ranks:
            rank.kill()
        self.ranks = []

    @property
    def _uses_reference(self) -> bool:
        return self.config.loss.kl_coef > 0

    def _pack(self, batch: TokenBatch, chains: Sequence[Chain]) -> Packing:
        return pack_chains(
            batch,
            chains,
            token_budget=self.config.token_budget,
            world_size=self.config.world_size,
            packed=self.config.packing == "packed",
        )

    def _optimize(
        self,
        method: str,
        batch: TokenBatch,
        columns: TokenColumns | Float32,
        minibatches: Sequence[Sequence[Chain]],
        on_steps: Callable[[int], None] = lambda steps: None,
    ) -> LearnReport:
        """Run `learn` or `sft` on all ranks, one optimizer step per minibatch, and merge what they report."""
        packings = [self._pack(batch, chains) for chains in minibatches]
        shared, shared_columns = share(batch), share(columns)
        parts = [list[StepStats]() for _ in self.ranks]
        for first in range(0, len(packings), STEPS_A_CALL):
            some = packings[first : first + STEPS_A_CALL]
            ranks = range(self.config.world_size)
            steps = self._call_each(
                method, [(shared, shared_columns, [packing.ranks[rank] for packing in some]) for rank in ranks]
            )
            self._count_skipped(steps[0])
            for part, more in zip(parts, steps, strict=True):
                part += more
            on_steps(len(some))
        return merged(parts, packings, has_critic=self.critic is not None)

    def _count_skipped(self, steps: Sequence[StepStats]) -> None:
        for step in steps:
            self._skipped_in_a_row = self._skipped_in_a_row + 1 if step.skipped else 0
            if self._skipped_in_a_row == self.config.max_skipped_steps:
                raise GradientNotFinite(
                    f"gradient norm {step.grad_norm} in {self._skipped_in_a_row} optimizer steps in a row "
                    "(learner.max_skipped_steps): lower learner.learning_rate"
                )

    def _call(self, method: str, *arguments: Any, timeout_s: float | None = None) -> list[Any]:
        return self._call_each(method, [arguments] * self.config.world_size, timeout_s)

    def _call_each(
        self, method: str, arguments: Sequence[tuple[Any, ...]], timeout_s: float | None = None
    ) -> list[Any]:
        """Call a method on all ranks, each with its own arguments, and wait for all results."""
        if not self.ranks:
            raise ActorDied(f"{method}: this learner was closed, or ended after an error")
        with self._ended_on_error(method):
            calls = [rank.submit(method, *own) for rank, own in zip(self.ranks, arguments, strict=True)]
            return gather(calls, timeout_s)

    @contextmanager
    def _ended_on_error(self, method: str) -> Generator[None]:
        """End all ranks if one fails: the others would wait forever in a collective operation."""
        try:
            yield
        except BaseException as error:
            self.close()
            if type(error).__name__ == "OutOfMemoryError":  # torch's, which this room does not import
                raise OutOfMemory(
                    f"a learner rank ran out of memory during {method} ({error}): lower learner.token_budget, or set "
                    "learner.gradient_checkpointing=true"
                ) from error
            if (what := _GONE.get(type(error).__name__)) is not None:
                raise ActorDied(f"a learner rank {what} during {method} ({error})") from error
            raise


def _made_of(model_folder: str | Path, twin: LearnerConfig | None) -> tuple[Any, ...]:
    """What a rank is made of, beside its config and number."""
    return (str(model_folder), *(() if twin is None else (twin,)))


def _joined(parts: Sequence[Bucket]) -> Bucket:
    """What the ranks packed as one bucket: the same weights in the memory of different GPUs."""
    handles = [part.handle.handles for part in parts if isinstance(part.handle, GpuBuffer)]
    if not handles:
        return parts[0]
    merged = {uuid: handle for one in handles for uuid, handle in one.items()}
    return replace(parts[0], handle=GpuBuffer(handles=merged))


def _rows_in_loss(batch: TokenBatch, live: Bool) -> Int64:
    """The rows that have a token in the loss; at least one."""
    rows = np.flatnonzero(np.add.reduceat(live, batch.response_starts[:-1]))
    if len(rows) == 0:
        raise ValueError("no response token is in the loss: row_mask or token_mask leave nothing to learn from")
    return rows


def _rows_with_credit(batch: TokenBatch, targets: Targets, *, negative: bool) -> Bool:
    """Which rows have a token with credit. negative: whether one below 0 counts. [N]"""
    credit = targets.token_credit(batch)
    return np.logical_or.reduceat(credit != 0 if negative else credit > 0, batch.response_starts[:-1])


def _with_credit(chains: Sequence[Chain], credited: Bool) -> list[Chain]:
    """The chains with credit in any row. If there are none, the first chain: the optimizer must still take its step."""
    return [chain for chain in chains if np.any(credited[list(chain)])] or list(chains[:1])


def _weights(
    batch: TokenBatch, live: Bool, minibatches: Sequence[Sequence[Chain]], aggregation: Aggregation
) -> Float32:
    """The `token_weights` of all optimizer steps in one column; tokens of rows that are left out weigh 0. [R]"""
    weight = np.zeros(batch.num_response_tokens, dtype=np.float32)
    for chains in minibatches:
        rows = np.array([row for chain in chains for row in chain], dtype=np.int64)
        tokens = batch.response_index(rows)
        weight[tokens] = token_weights(batch.response_lens[rows], live[tokens], aggregation)
    return weight


def _critic_columns(batch: TokenBatch, targets: Targets, minibatches: Sequence[Sequence[Chain]]) -> CriticColumns:
    """What the critic learns from; the rows of an optimizer step, or their tokens, weigh alike, and together 1."""
    assert targets.returns is not None  # `_prepared` sees to it
    assert targets.values is not None
    weight = np.zeros(len(targets.returns), dtype=np.float32)
    for chains in minibatches:
        valued = np.array([row for chain in chains for row in chain], dtype=np.int64)
        if targets.critic == "token":
            tokens = batch.response_index(valued)
            valued = tokens[targets.live_tokens(batch)[tokens]]
        weight[valued] = 1.0 / len(valued)
    return CriticColumns(returns=targets.returns, values=targets.values, weight=weight)


def _in_order(index: Int64, parts: Sequence[Float32 | None]) -> Float32:
    """The ranks' values, each at the position that `index` gives it. [len(index), ...]"""
    ordered = np.empty_like(values := np.concatenate([part for part in parts if part is not None]))
    ordered[index] = values
    return ordered
