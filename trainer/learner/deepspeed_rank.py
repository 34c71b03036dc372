"""One learner rank, run in a Ray actor: a DeepSpeed engine around a policy. No other file imports DeepSpeed."""

import json
import math
import os
import shutil
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.distributed_c10d import _set_pg_timeout
from transformers import PreTrainedModel

from estimators import Unit
from rollout.buckets import broadcast_group, meeting_store, spec_of
from rollout.placement import interface_of
from rollout.ray_cluster import own_address
from rollout.spans import span
from rollout.transfer import Bucket, Meeting, Route
from trainer.checkpoint import LEARNER, MODEL
from trainer.config.learner import LearnerConfig
from trainer.data.tokens import Float32, TokenBatch
from trainer.learner.adapter import Adapter, keep_trained, weights_digest
from trainer.learner.arrays import as_array, joined, joined_if_any
from trainer.learner.background import BackgroundWriter
from trainer.learner.check import check_forward
from trainer.learner.critic import Critic
from trainer.learner.engine_config import engine_config, meeting_config
from trainer.learner.export import persistent_buffers, write_stop_ids
from trainer.learner.load import load_model
from trainer.learner.losses import LossInputs, LossTerms, likelihood_loss, policy_loss, summed, with_value_loss
from trainer.learner.messages import BrokenRow, CheckpointMismatch, MicroBatches, RankScores, StepStats, TokenColumns
from trainer.learner.optimizer import group_settings, keep_own, optimizer_of
from trainer.learner.outgoing import Outgoing
from trainer.learner.packing import MicroBatch, collate
from trainer.learner.policy import PolicyModule, PolicyOutput

os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
import deepspeed
from deepspeed.checkpoint import ds_to_universal
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine
from deepspeed.utils import groups

STATE_FILE = "learner.json"
CRITIC_FILE = "critic.pt"
TAG = "engine"
ADAPTER = "adapter"  # the folder beside an exported model
# How a checkpoint is converted to a universal one: in the rank's process, without the intermediate files.
CONVERSION = {"num_extract_workers": 1, "num_merge_workers": 1, "keep_temp_folder": False, "strict": True}
ranks_store = cache(meeting_store)  # where the ranks meet: open as long as this process lives, as their connection is


class LearnerRank:
    """One of the learner's ranks. `join` connects it to the others and loads the models; later calls go to all."""

    def __init__(self, config: LearnerConfig, rank: int, model_folder: str) -> None:
        self.config = config
        self.rank = rank
        self.model_folder = model_folder
        self.device = torch.device(config.device, 0) if config.device == "cuda" else torch.device("cpu")
        self.packed = config.packing == "packed"
        self.writer = BackgroundWriter(rank)

    def address(self) -> tuple[str, int]:
        """Open the place where the ranks meet: the address that other nodes know this one by, and a port."""
        return (store := ranks_store(own_address())).host, store.port

    def join(self, host: str, port: int, layer: int | None, critic: Unit | None = None) -> None:
        """Connect to the other ranks. Load the policy and, if the loss has a KL term, the reference; make the critic.

        A process that has met them before stays connected, and passes over host and port.
        Raises ModelError for a model whose own forward the learner does not compute, and for a layer it does not have.
        """
        os.environ.update(MASTER_ADDR=host, MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE=str(True))
        if (interface := interface_of(own_address())) is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        torch.set_num_threads(self.config.threads)
        # DeepSpeed would compile this with g++ even for one rank, and nothing here needs it.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # type: ignore[attr-defined]
        deepspeed.init_distributed(**meeting_config(self.config))
        # DeepSpeed reduces gradients in a group of its own, which would keep torch's limit of ten minutes on GPUs.
        reducing: Any = groups._get_data_parallel_group()
        _set_pg_timeout(timedelta(seconds=self.config.timeout_s), reducing)
        model = self._load()
        self.parameters = dict(model.named_parameters())
        self.adapter = None if self.config.lora.rank is None else Adapter(model, self.config.lora)
        policy = PolicyModule(model, gradient_checkpointing=self.config.gradient_checkpointing, packed=self.packed).to(
            self.device
        )
        if self.adapter is not None:
            keep_trained(policy)
        check_forward(policy, temperature=self.config.temperature, layer=layer)
        if self.config.compile == "layers":
            policy.compile_blocks()
        self.model: PreTrainedModel = policy.model
        self.trained = {name: one for name, one in policy.model.named_parameters() if one.requires_grad}
        width = policy.head.weight.shape[1]  # DeepSpeed may divide the matrix
        self.critic = Critic(width, self.config.critic, self.device, critic) if critic else None
        self.optimizer, self.schedule = optimizer_of(self.config, policy)
        self.engine, *_ = deepspeed.initialize(
            model=policy,
            optimizer=self.optimizer,
            lr_scheduler=self.schedule,  # pyright: ignore[reportArgumentType]  DeepSpeed names torch's old class
            config=engine_config(self.config, policy),
        )
        self.engine.checkpoint_engine = CopyingEngine(self.writer)
        self.reference = self._reference() if self.config.loss.kl_coef > 0 else None

    def give_up(self) -> None:
        """Take DeepSpeed's hooks off the models. The process stays connected to those of the other ranks."""
        for name in ("engine", "reference"):
            if isinstance(engine := getattr(self, name, None), deepspeed.DeepSpeedEngine):
                engine.destroy()
        torch.compiler.reset()

    def score(self, batch: TokenBatch, micros: MicroBatches, layer: int | None) -> RankScores:
        """Log-probs, entropies, hidden states if a layer is given, and a critic's values of this rank's rows.

        No gradient. Where the engine's log-probs are the old ones, the policy gives hidden states alone.
        """
        self.engine.eval()
        takes_all = self.config.old_logprobs == "learner"
        scored: list[tuple[MicroBatch, PolicyOutput | None, Tensor | None]] = []
        values: list[Tensor | None] = []
        with torch.no_grad():
            for micro in (collate(batch, chains, packed=self.packed) for chains in micros):
                output = None
                if takes_all or layer is not None or self.critic is not None:
                    output = self._forward(self.engine, micro, self.config.temperature, layer, scored=takes_all)
                reference = None
                if self.reference is not None:
                    reference = self._forward(self.reference, micro, self.config.temperature).logprobs
                if micro.live:
                    scored.append((micro, output, reference))
                    values.append(self._values(output))
        return RankScores(
            token_index=joined([micro.token_index for micro, _, _ in scored], np.int64),
            logprobs=joined_if_any([output and output.logprobs for _, output, _ in scored]) if takes_all else None,
            ref_logprobs=joined_if_any([reference for _, _, reference in scored]),
            entropy=joined_if_any([output and output.entropy for _, output, _ in scored]) if takes_all else None,
            rows=joined([micro.rows for micro, _, _ in scored], np.int64),
            hidden=joined_if_any([output and output.hidden for _, output, _ in scored]),
            values=joined_if_any(values),
        )

    def learn(self, batch: TokenBatch, columns: TokenColumns, steps: Sequence[MicroBatches]) -> list[StepStats]:
        """Take one optimizer step on the clipped surrogate per entry of `steps`."""
        loss_of = partial(self._surrogate, columns)
        return [self._optimizer_step(batch, micros, loss_of, self.config.temperature) for micros in steps]

    def examine(self, batch: TokenBatch, columns: TokenColumns, rows: Sequence[int]) -> tuple[BrokenRow, ...]:
        """The rows whose own loss or gradient is not finite. Each rank examines all rows, and nothing is changed."""
        self.engine.train()
        module = cast(Callable[..., PolicyOutput], self.engine.module)  # the engine's own forward forbids this backward
        broken: list[BrokenRow] = []
        for row in rows:
            micro = collate(batch, ((row,),), packed=self.packed)
            output = self._forward(module, micro, self.config.temperature)
            loss = self._surrogate(columns, micro, output).loss
            gradients = torch.autograd.grad(loss, list(self.trained.values()), allow_unused=True)
            pairs = zip(reversed(self.trained), reversed(gradients), strict=True)
            parameter = next((name for name, one in pairs if one is not None and not one.isfinite().all()), None)
            if parameter is not None or not loss.isfinite():
                drift = np.abs(as_array(output.logprobs) - columns.old_logprobs[micro.token_index])
                largest = float(drift[columns.weight[micro.token_index] > 0].max(initial=0.0))
                broken.append(BrokenRow(row=row, loss=float(loss), log_ratio=largest, parameter=parameter))
        return tuple(broken)

    def sft(self, batch: TokenBatch, weight: Float32, steps: Sequence[MicroBatches]) -> list[StepStats]:
        """Take one optimizer step on the weighted negative log-likelihood, at temperature 1, per entry of `steps`."""

        def loss_of(micro: MicroBatch, output: PolicyOutput) -> LossTerms:
            return likelihood_loss(output.logprobs, self._weights(weight, micro))

        return [self._optimizer_step(batch, micros, loss_of, 1.0) for micros in steps]

    def open_publish(self, route: Route, version: int, sends: bool) -> int:
        """Start to send the weights to the engines. Returns the number of buckets.

        Memory of the GPU that the rank holds but does not use goes back first: the engines that wake need it. Raises
        PublishError where there is no room for the weights.
        """
        if self.config.device == "cuda":
            torch.cuda.empty_cache()
        tensors = [spec_of(name, one, getattr(one, "ds_shape", None)) for name, one in self.parameters.items()]
        self.outgoing = Outgoing(route, version, tensors, sends=sends)
        return self.outgoing.num_buckets

    def pack(self, number: int) -> Bucket | None:
        """Gather bucket `number`, from 1, and make it ready for the engines; None where this rank sends nothing."""
        return self.outgoing.pack(number, self.weights)

    def expect_engines(self) -> tuple[str, int]:
        """Open the place where this rank will meet the engines for broadcasts: address and port."""
        self.engine_store = meeting_store(own_address())
        return self.engine_store.host, self.engine_store.port

    def connect(self, meeting: Meeting) -> None:
        """Meet the engines for broadcasts."""
        self.engine_group = broadcast_group(self.config.device, meeting, self.engine_store)

    def transmit(self) -> None:
        """Broadcast the bucket that was packed last to the engines, which wait for it."""
        self.outgoing.transmit(self.engine_group)

    def close_publish(self) -> None:
        """Give the memory back that the publish took."""
        self.outgoing.close()

    def begin_save(self, folder: str, export: bool) -> None:
        """Copy what `load` needs, and begin to write it as DeepSpeed does. export: also what `export` writes."""
        self.add_states(Path(folder))
        if export and (write := self._model_writer()) is not None:
            self.writer.add_folder(Path(folder) / MODEL, write)
        self.writer.start(Path(folder))

    def add_states(self, folder: Path) -> None:
        """Copy weights, optimizer, schedule and this rank's RNG state; of a policy with an adapter the adapter's."""
        states = folder / LEARNER
        whole = self.adapter is None
        self.engine.save_checkpoint(str(states), tag=TAG, save_latest=False, exclude_frozen_parameters=not whole)
        self.writer.add(self._rng_state(), states / f"rng-{self.rank}.pt")
        if self.rank == 0 and self.critic is not None:
            self.writer.add(self.critic.state(), states / CRITIC_FILE)
        if self.rank == 0:
            (states / STATE_FILE).write_text(json.dumps(self._identity()))

    def save_fault(self, wait: bool) -> str | None:
        """What the files of `begin_save` failed of, None if of nothing. wait: until they are written."""
        return self.writer.fault(wait=wait)

    def load(self, folder: str, universal: str) -> int:
        """Continue from `begin_save`, also from one of another number of ranks. Returns that number.

        universal: where it is converted, a folder that is not there yet.
        Raises CheckpointMismatch for another ZeRO stage, dtype, adapter or base, and for a learner without the critic.
        """
        states, own = Path(folder) / LEARNER, self._identity()
        saved = json.loads((states / STATE_FILE).read_text())
        if {**saved, "world_size": own["world_size"]} != own:
            raise CheckpointMismatch(f"checkpoint {folder} was written with {saved}, this learner has {own}")
        own_groups = group_settings(self.optimizer)
        if saved["world_size"] == own["world_size"] or self.config.zero_stage == 0:
            self._load_engine(states)
        else:
            self._load_universal(states, Path(universal))
        keep_own(self.config, self.optimizer, self.schedule, own_groups)
        if self.config.zero_stage > 0:
            optimizer: Any = self.engine.optimizer
            optimizer.clip_grad = self.config.grad_clip  # DeepSpeed has taken the checkpoint's
        if self.critic is not None:
            self.critic.restore(torch.load(states / CRITIC_FILE, map_location=self.device, weights_only=True))
        rng = torch.load(states / f"rng-{self.rank % saved['world_size']}.pt", weights_only=True)
        torch.set_rng_state(rng["cpu"])
        if self.config.device == "cuda":
            torch.cuda.set_rng_state(rng["cuda"])
        return saved["world_size"]

    def export(self, folder: str) -> None:
        """Write a Hugging Face folder: the model folder's other files (tokenizer, template) and the current weights.

        An adapter is merged into the weights, and written by itself into `adapter` beside the folder.
        """
        if (write := self._model_writer()) is not None:
            write(Path(folder))

    def _load_engine(self, states: Path) -> None:
        path, _ = self.engine.load_checkpoint(str(states), tag=TAG, load_module_strict=self.adapter is None)
        if path is None:
            raise CheckpointMismatch(f"checkpoint {states.parent} holds no engine state: choose another")

    def _load_universal(self, states: Path, universal: Path) -> None:
        """Load what another number of ranks wrote, by way of DeepSpeed's universal checkpoint.

        For ZeRO-3 DeepSpeed gives all parameter groups the settings of the first, which `keep_own` sets right, and all
        their states one counter of steps, which each step of a group counts up: each gets its own here.
        """
        engine: Any = self.engine
        if self.rank == 0:
            folders = {"input_folder": str(states / TAG), "output_folder": str(universal / TAG)}
            ds_to_universal.main(Namespace(**CONVERSION, **folders, inject_missing_state=True))
        torch.distributed.barrier()
        engine._config.load_universal_checkpoint = True
        self._load_engine(universal)
        engine._config.load_universal_checkpoint = False
        for state in engine.optimizer.optimizer.state.values():
            state["step"] = state["step"].to(self.device, copy=True)
        torch.distributed.barrier()
        if self.rank == 0:
            shutil.rmtree(universal)

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint depends on. An adapter's names its base too, which the checkpoint does not hold."""
        config = self.config
        layout = {"world_size": config.world_size, "zero_stage": config.zero_stage, "dtype": config.dtype}
        if self.critic is not None:
            layout["critic"] = True
        if self.adapter is None:
            return layout
        return layout | {"lora": self.adapter.settings, "base": self._base}

    @cached_property
    def _base(self) -> str:
        return weights_digest(Path(self.model_folder))

    def _load(self) -> PreTrainedModel:
        return load_model(self.model_folder, getattr(torch, self.config.dtype))

    def _reference(self) -> Callable[..., PolicyOutput]:
        """The frozen policy of the KL term. Under ZeRO-3 its weights too are split over the ranks.

        Beside an adapter it is the policy with the adapter off: the same weights.
        """
        if self.adapter is not None:
            return self.adapter.without(self.engine)
        reference = PolicyModule(self._load(), packed=self.packed)
        reference.to(self.device).requires_grad_(False).eval()
        if self.config.zero_stage < 3:
            return reference
        engine, *_ = deepspeed.initialize(model=reference, config=engine_config(self.config, reference))
        engine.eval()  # a DeepSpeed engine's eval() returns None
        return engine

    def _optimizer_step(
        self,
        batch: TokenBatch,
        micros: MicroBatches,
        loss_of: Callable[[MicroBatch, PolicyOutput], LossTerms],
        temperature: float,
    ) -> StepStats:
        """Sum gradients over the micro-batches, then step. Skip the step on all ranks if their norm is not finite.

        DeepSpeed skips it under ZeRO; a step that is skipped leaves weights, optimizer and schedule as they were.
        """
        self.engine.train()
        all_terms: list[LossTerms] = []
        for number, chains in enumerate(micros, start=1):
            micro = collate(batch, chains, packed=self.packed)
            self.engine.set_gradient_accumulation_boundary(number == len(micros))
            terms = loss_of(micro, self._forward(self.engine, micro, temperature))
            # DeepSpeed averages gradients over the ranks; the weights already hold the global denominator.
            with span("backward"):
                self.engine.backward(terms.loss * self.config.world_size)
            all_terms.append(terms)
        learning_rate = self.engine.get_lr()[0]
        # Without ZeRO, DeepSpeed clips by the norm but does not report it.
        norm = float(_grad_norm(self.trained.values())) if self.config.zero_stage == 0 else None
        if norm is None or math.isfinite(norm):
            with span("optimizer step"):
                self.engine.step()
            norm = float(cast(float, self.engine.get_global_grad_norm())) if norm is None else norm
            skipped = not self.engine.was_step_applied()
        else:
            self.engine.zero_grad()
            skipped = True
        if self.critic is not None:
            self.critic.step(taken=not skipped)
        return StepStats(**summed(all_terms), grad_norm=norm, learning_rate=learning_rate, skipped=skipped)

    def _surrogate(self, columns: TokenColumns, micro: MicroBatch, output: PolicyOutput) -> LossTerms:
        inputs = self._loss_inputs(columns, micro, output)
        terms = policy_loss(inputs, self.config.loss, of_engine=self.config.old_logprobs == "engine")
        values, own = self._values(output), columns.critic
        if self.critic is None or values is None or own is None:
            return terms
        at = self.critic.index(micro)
        old, returns, weight = (self._tensor(column[at]) for column in (own.values, own.returns, own.weight))
        weight = weight * float(micro.live)
        return with_value_loss(terms, values, old, returns, weight, self.config.critic.clip)

    def _values(self, output: PolicyOutput | None) -> Tensor | None:
        """What the critic says about a micro-batch, [K] or of tokens [S]; None without a critic."""
        if self.critic is None or output is None or output.last is None:
            return None
        return self.critic(output.last)

    def _forward(
        self,
        module: Callable[..., PolicyOutput],
        micro: MicroBatch,
        temperature: float,
        layer: int | None = None,
        scored: bool = True,
    ) -> PolicyOutput:
        """One forward pass over a micro-batch.

        scored: whether log-probs of the response tokens are asked for.
        """
        with span("forward"):
            return module(
                self._tensor(micro.input_ids),
                self._tensor(micro.predict_at[: None if scored else 0]),
                self._tensor(micro.targets[: None if scored else 0]),
                temperature=temperature,
                layer=layer,
                embed_at=None if layer is None else self._tensor(micro.prompt_end_at),
                last_at=None if self.critic is None else self._tensor(self.critic.cells(micro)),
                bounds=None if micro.bounds is None else self._tensor(micro.bounds),
                longest=micro.longest,
            )

    def _loss_inputs(self, columns: TokenColumns, micro: MicroBatch, output: PolicyOutput) -> LossInputs:
        reference, rollout = columns.ref_logprobs, columns.rollout_logprobs
        return LossInputs(
            logprobs=output.logprobs,
            entropy=output.entropy,
            old_logprobs=self._tensor(columns.old_logprobs[micro.token_index]),
            ref_logprobs=None if reference is None else self._tensor(reference[micro.token_index]),
            rollout_logprobs=None if rollout is None else self._tensor(rollout[micro.token_index]),
            advantage=self._tensor(columns.advantage[micro.token_index]),
            weight=self._weights(columns.weight, micro),
            segment=self._tensor(micro.segment),
            num_rows=max(len(micro.rows), 1),
        )

    def _weights(self, weight: Float32, micro: MicroBatch) -> Tensor:
        """The weights of a micro-batch's tokens; a filler's token weighs 0. [S]"""
        return self._tensor(weight[micro.token_index]) * float(micro.live)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device, non_blocking=True)

    def weights(self, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """These weights, whole, with the adapter merged in. Under ZeRO-3 all ranks gather them together."""
        needed = [one for name in names for one in (self.parameters[name], *self._matrices_of(name))]
        with deepspeed.zero.GatheredParameters(needed, enabled=self.config.zero_stage == 3):
            for name in names:
                weight = self.parameters[name].detach()
                yield name, self.adapter.merged(name, weight) if self.adapter else weight

    def _matrices_of(self, name: str) -> list[nn.Parameter]:
        return self.adapter.matrices_of(name) if self.adapter else []

    def _model_writer(self) -> Callable[[Path], None] | None:
        """What writes an exported folder, from copies that are made now. None on all ranks but the first."""
        weights = self._gathered_weights()
        matrices = self._gathered_matrices(self.adapter) if self.adapter else {}
        return partial(self._write_model, weights, matrices) if self.rank == 0 else None

    def _write_model(self, weights: dict[str, Tensor], matrices: dict[str, Tensor], folder: Path) -> None:
        if self.adapter is not None:
            self.adapter.write(folder.with_name(ADAPTER), matrices, self.model_folder)
        skip = shutil.ignore_patterns("*.safetensors", "*.safetensors.index.json", "*.bin", "*.gguf", "*.pt")
        shutil.copytree(self.model_folder, folder, ignore=skip, dirs_exist_ok=True)
        self.model.save_pretrained(folder, state_dict=weights)
        write_stop_ids(folder)

    def _gathered_weights(self) -> dict[str, Tensor]:
        """Copies in the CPU memory of rank 0, gathered one at a time, with the buffers that a model's files hold; an
        empty dict on the other ranks."""
        copies: dict[str, Tensor] = {}
        for single in self.parameters:
            for name, weight in self.weights([single]):
                if self.rank == 0:
                    copies[name] = weight.to("cpu", copy=True)
        if self.rank == 0:
            copies |= persistent_buffers(self.model)
        return copies

    def _gathered_matrices(self, adapter: Adapter) -> dict[str, Tensor]:
        """Copies of the adapter's matrices, in the CPU memory of each rank."""
        matrices = adapter.matrices
        with deepspeed.zero.GatheredParameters([*matrices.values()], enabled=self.config.zero_stage == 3):
            return {name: matrix.detach().to("cpu", copy=True) for name, matrix in matrices.items()}

    def _rng_state(self) -> dict[str, Tensor]:
        state = {"cpu": torch.get_rng_state()}
        return state | {"cuda": torch.cuda.get_rng_state()} if self.config.device == "cuda" else state


class CopyingEngine(TorchCheckpointEngine):
    """Writes DeepSpeed's files from copies, later.

    DeepSpeed's own decoupled engine takes no copies: the next optimizer step waits for its files. Nor does it say so
    where its process has died.
    """

    def __init__(self, writer: BackgroundWriter) -> None:
        super().__init__()
        self.writer = writer

    def save(self, state_dict: Any, path: str) -> None:
        self.writer.add(state_dict, path)


def _grad_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    return torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
