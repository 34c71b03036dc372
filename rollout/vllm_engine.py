"""The one file that knows vLLM: an engine that samples tokens and takes new weights in place.

It is imported in the process that holds the engine, beside an actor's (`rollout.apart`). vLLM forks its core there;
workers of several GPUs know the weight transfer below through `worker_extension_cls`.
"""

# Signatures of vLLM and safetensors are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import os
import pickle
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import distributed, nn
from vllm.config import VllmConfig
from vllm.config.weight_transfer import WeightTransferConfig
from vllm.distributed import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferInitRequest,
    WeightTransferUpdateInfo,
    WeightTransferUpdateRequest,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.packed_tensor import PackedBufferImporter
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs import TokensPrompt
from vllm.logprobs import LogprobsOnePosition
from vllm.model_executor.layers.linear import (
    ColumnParallelLinear,
    LinearBase,
    QKVParallelLinear,
    ReplicatedLinear,
    RowParallelLinear,
    UnquantizedLinearMethod,
)
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.layers.vocab_parallel_embedding import (
    ParallelLMHead,
    UnquantizedEmbeddingMethod,
    VocabParallelEmbedding,
)
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.outputs import PoolingRequestOutput, RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.output_processor import RequestOutputCollector

from rollout import spans
from rollout.buckets import as_words, broadcast, broadcast_group, check_digests, content, unpack
from rollout.engine_log import HIDDEN_CAUSE, root_cause
from rollout.messages import Answer, EngineDead, Request
from rollout.transfer import (
    UNKNOWN,
    Broadcast,
    Bucket,
    GpuBuffer,
    Handle,
    HostBuffer,
    Meeting,
    PublishError,
    WholeFile,
    add_contents,
    check_contents,
    joined_contents,
    layer_of,
)
from rollout.weights import verify

BACKEND = "stepcredit"
WHOLE = "whole"
"""The share of weights that every worker holds whole."""
DEVICE_ARGUMENT = 6  # of `rebuild_cuda_tensor`


@dataclass
class Meet(WeightTransferInitInfo):
    """As `rollout.transfer.Meeting`; without a host nobody meets, and each bucket says where it lies."""

    host: str = ""
    port: int = 0
    rank: int = 0
    size: int = 0
    timeout_s: float = 0.0


@dataclass
class PickledBucket(WeightTransferUpdateInfo):
    """A `rollout.transfer.Bucket`."""

    bucket: bytes
    """Pickled: vLLM's processes pass on bytes and plain values only."""


class BucketTransfer(WeightTransferEngine[Meet, PickledBucket]):
    """Loads weights in buckets, whichever way they travel, and tells the checksums of what the model then holds."""

    init_info_cls = Meet
    update_info_cls = PickledBucket

    def __init__(self, config: WeightTransferConfig, vllm_config: VllmConfig, device: torch.device, model: Any) -> None:
        super().__init__(config, vllm_config, device, model)
        self._gpu_buffers = PackedBufferImporter()
        self._packed: dict[str, list[tuple[str, str, torch.Tensor]]] = {}
        self._group: distributed.ProcessGroup | None = None
        if device.type == "cpu":
            self._watch_packing()

    def init_transfer_engine(self, init_info: Meet) -> None:
        if init_info.host:
            meeting = Meeting(**asdict(init_info))
            own = replace(meeting, rank=meeting.rank + self.parallel_config.rank)
            self._group = broadcast_group(self.device.type, own)

    def start_weight_update(self) -> None:
        self._packed.clear()
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type != "cpu":
            torch.accelerator.synchronize()  # the learner may fill the buffer again

    def receive_weights(self, update_info: PickledBucket) -> None:
        bucket: Bucket = pickle.loads(update_info.bucket)
        load = cast(Any, self.model).load_weights
        if isinstance(bucket.handle, WholeFile):
            with safe_open(bucket.handle.path, framework="pt") as file:
                load((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118
            return
        # vLLM keeps what it loads until a layer is complete, and the buffer is filled again before that.
        buffer = self._buffer(bucket.handle)
        tensors = [(name, tensor.to(self.device, copy=True)) for name, tensor in unpack(buffer, bucket.tensors)]
        check_digests(tensors, bucket.digests)
        load(tensors)
        if bucket.number == bucket.of:
            self._gpu_buffers.close()

    def _buffer(self, handle: Handle) -> torch.Tensor:
        """The bytes of a bucket. uint8 [num_bytes]"""
        if isinstance(handle, HostBuffer):
            return torch.from_file(handle.path, shared=True, size=handle.num_bytes, dtype=torch.uint8)
        if isinstance(handle, GpuBuffer):
            uuid = str(cast(Any, torch.cuda.get_device_properties(self.device)).uuid)
            if uuid not in handle.handles:
                raise PublishError(f"no learner rank is on GPU {uuid}: set cluster.weight_transfer=file")
            arguments = list(cast(Sequence[Any], pickle.loads(handle.handles[uuid])))
            arguments[DEVICE_ARGUMENT] = self.device.index  # this process may number the GPUs otherwise
            return self._gpu_buffers.rebuild(arguments)
        if not isinstance(handle, Broadcast) or self._group is None:
            raise PublishError(f"this engine has not met the learner and takes no {type(handle).__name__}")
        buffer = torch.empty(handle.num_bytes, dtype=torch.uint8, device=self.device)
        broadcast(self._group, buffer)
        return buffer

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)
        if self.device.type == "cpu":
            self._repack_heads()
        else:
            torch.accelerator.empty_cache()

    def contents(self) -> dict[str, dict[str, int]]:
        """The sums of the weights that this worker now holds, by share and layer, see `rollout.buckets.content`."""
        sums = [one for part in self._packed.values() for one in part]
        modules: dict[str, nn.Module] = dict(cast(Any, self.model).named_modules())
        for name, parameter in self.model.named_parameters():
            sums += _contents(name, modules[name.rpartition(".")[0]], parameter)
        words = zip(sums, as_words([total for *_, total in sums]), strict=True)
        contents: dict[str, dict[str, int]] = {}
        for (name, share, _), word in words:
            contents[share] = add_contents(contents.get(share, {}), {layer_of(name): word})
        return contents

    def _watch_packing(self) -> None:
        """On a CPU vLLM keeps only a packed copy of a linear layer's weight: its content is taken before it is packed.

        A parameter that is gone has no numbers and adds nothing to `contents`.
        """
        names = {id(module): name for name, module in cast(Any, self.model).named_modules()}

        def watched(pack: Callable[[nn.Module], None], layer: nn.Module) -> None:
            name = f"{names[id(layer)]}.weight"
            before = _contents(name, layer, cast(nn.Parameter, layer.weight))
            pack(layer)
            if cast(torch.Tensor, layer.weight).numel() == 0:
                self._packed[name] = before

        for module in self.model.modules():
            method = getattr(module, "quant_method", None)
            if isinstance(method, UnquantizedLinearMethod):
                method.process_weights_after_loading = partial(watched, method.process_weights_after_loading)

    def _repack_heads(self) -> None:
        """On a CPU a tied head keeps a packed copy of the embedding. Without this, it would go on using the old one."""
        for module in self.model.modules():
            if isinstance(module, ParallelLMHead) and isinstance(module.quant_method, UnquantizedEmbeddingMethod):
                dispatch_cpu_unquantized_gemm(module, remove_weight=False)

    def shutdown(self) -> None:
        self._gpu_buffers.close()


if BACKEND not in WeightTransferEngineFactory._registry:  # pyright: ignore[reportPrivateUsage]  no public way to ask
    WeightTransferEngineFactory.register_engine(BACKEND, BucketTransfer)


def shares(module: nn.Module, parameter: nn.Parameter) -> list[tuple[str, torch.Tensor]]:
    """What this worker holds of a parameter of `module`, each part with the name of the share that it is.

    Workers that hold the same numbers call them by the same name: there is one number of that share in the model.
    """
    rank, workers = get_tensor_model_parallel_rank(), get_tensor_model_parallel_world_size()
    own = f"part {rank} of {workers}"
    if workers == 1 or isinstance(module, ReplicatedLinear) or (isinstance(module, LinearBase) and module.tp_size == 1):
        return [(WHOLE, parameter)]
    if isinstance(module, QKVParallelLinear):  # with fewer heads of keys and values than workers, some hold the same
        queries, keys = module.num_heads * module.head_size, f"keys and values {rank // module.num_kv_head_replicas}"
        return [(own, parameter[:queries]), (keys, parameter[queries:])]
    if isinstance(module, RowParallelLinear) and parameter is module.bias:
        return [(WHOLE, parameter)]
    if isinstance(module, ColumnParallelLinear | RowParallelLinear | VocabParallelEmbedding):
        return [(own, parameter)]
    return [(UNKNOWN if hasattr(parameter, "weight_loader") else WHOLE, parameter)]


def _contents(name: str, module: nn.Module, parameter: nn.Parameter) -> list[tuple[str, str, torch.Tensor]]:
    """The checksums of the shares of a parameter: its name, the share's, the sum."""
    return [(name, share, content(part)) for share, part in shares(module, parameter)]


class WorkerExtension:
    """What vLLM's workers can do besides. Importing this module there registers `BucketTransfer`."""

    weight_transfer_engine: BucketTransfer

    def weight_contents(self) -> dict[str, dict[str, int]]:
        return self.weight_transfer_engine.contents()


class Engine:
    """vLLM's async engine: token ids in, sampled ids and their log-probs out."""

    def __init__(self, model: str, options: Mapping[str, Any]) -> None:
        """options: more AsyncEngineArgs; those that this framework depends on are set here and cannot be overridden.

        Raises what vLLM raises, but a RuntimeError with the cause where vLLM only points to its log.
        """
        arguments = AsyncEngineArgs(
            model=model,
            logprobs_mode="processed_logprobs",  # of the distribution that was sampled from, temperature included
            weight_transfer_config=WeightTransferConfig(backend=BACKEND),
            worker_extension_cls=f"{WorkerExtension.__module__}.{WorkerExtension.__qualname__}",
            **options,
        )
        config = arguments.create_engine_config()
        if current_platform.is_cpu():
            # vLLM has just asked for a fresh process, which would import everything again: 13 s of processor time.
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
        try:
            self._llm = AsyncLLM.from_vllm_config(config, disable_log_stats=arguments.disable_log_stats)
        except RuntimeError as error:
            if HIDDEN_CAUSE not in str(error):
                raise
            with open("/proc/self/fd/1", errors="replace") as log:  # where vLLM's processes write theirs
                raise RuntimeError(root_cause(log) or str(error)) from error
        self._ready = False
        self._asleep = False
        self._version = 0
        self._loading: int | None = None
        self._lost: str | None = None

    async def ready(self) -> bool:
        """Return once requests can be served."""
        if not self._ready:
            await self._llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info={}))
            self._ready = True
        return True

    async def connect(self, meeting: Meeting) -> None:
        """Meet the learner for broadcasts; rank: that of the engine's first worker."""
        await self._llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info=asdict(meeting)))

    async def complete(self, request: Request) -> Answer:
        """Sample one response. Raises PublishError from an engine that a publish has left half new."""
        self._check_serving()
        version = self._version
        final = None
        with _death_named():
            async for output in self._llm.generate(*_asked(request)):
                final = output
        if final is None:
            raise RuntimeError(f"vLLM ended request {request.name} without an output")
        return _answer(request, final, version)

    async def complete_wave(self, requests: Sequence[Request]) -> list[Answer]:
        """Sample several responses, admitted together and in this order: equal waves make equal batches.

        The scheduler is paused while the requests queue, and its caches are cleared first. So neither arrival times nor
        earlier requests can change which numbers are added together. The engine's core takes messages in the order in
        which they were sent, so it goes on with all requests of the wave in its queue, however long they took.
        """
        self._check_serving()
        with _death_named():
            await self._llm.pause_generation(mode="keep", clear_cache=True)
            version = self._version
            try:
                queued = [await self._queued(request) for request in requests]
            finally:
                await self._llm.resume_generation()
            outputs = [await output.get() for output in queued]
        return [_answer(request, output, version) for request, output in zip(requests, outputs, strict=True)]

    async def _queued(self, request: Request) -> RequestOutputCollector:
        """Send a request to the engine's core; returns where its output will be."""
        prompt, params, name = _asked(request)
        return await self._llm.add_request(name, prompt, params)

    async def load(self, version: int, bucket: Bucket) -> None:
        """Load a bucket of a version's weights; requests in flight wait, and new ones are refused until `finish`.

        A sleeping engine takes them after `wake_weights`, and serves after `wake_cache`. Raises PublishError: for a
        file that is missing or has another checksum the old weights stay; else the engine is lost.
        """
        self._check_serving(version)
        if isinstance(bucket.handle, WholeFile):
            await asyncio.to_thread(verify, Path(bucket.handle.path), version, bucket.handle.checksum)
        with self._lost_on_error(f"publish of version {version}"):
            if self._loading is None:
                self._loading = version
                # The cache holds keys and values of the old weights; whatever is in flight computes its own again.
                await self._llm.pause_generation(mode="keep", clear_cache=True)
                await self._llm.start_weight_update()
            await self._llm.update_weights(WeightTransferUpdateRequest(update_info={"bucket": pickle.dumps(bucket)}))

    async def finish(self, version: int, contents: Mapping[str, int]) -> int:
        """Serve the version whose buckets were loaded. Returns the version now served.

        contents: the learner's. Raises PublishError, and the engine is lost, if its weights have others.
        """
        self._check_serving(version)
        with self._lost_on_error(f"publish of version {version}"):
            await self._llm.finish_weight_update(weight_version=str(version))
            replies = await self._llm.collective_rpc("weight_contents")
            workers = cast(Sequence[Mapping[str, Mapping[str, int]]], replies)
            check_contents(version, contents, joined_contents(version, workers))
            self._version, self._loading = version, None
            if not self._asleep:
                await self._llm.resume_generation()
        return int(await self._llm.get_weight_version())

    async def lose(self, reason: str) -> None:
        """Serve nothing any more if a publish is under way: the weights are partly old and partly new."""
        if self._loading is not None and self._lost is None:
            self._lost = reason

    async def forget(self) -> None:
        """Drop all requests and caches, for another run. Raises PublishError where there are no whole weights."""
        self._check_serving()
        if self._asleep:
            raise PublishError("this engine is asleep, and its weights are gone")
        await self._llm.pause_generation(mode="abort", clear_cache=True)
        await self._llm.resume_generation()

    async def serves(self) -> bool:
        """Whether vLLM is alive, and the weights are of one version."""
        return self._lost is None and self._loading is None and not self._llm.errored

    def _check_serving(self, loading: int | None = None) -> None:
        """Raise PublishError where the weights are partly old and partly new. loading: a version that may go on."""
        if self._lost is not None or self._loading not in (None, loading):
            reason = self._lost or f"version {self._loading} is not complete"
            raise PublishError(f"this engine has weights of two versions and serves nothing ({reason})")

    @contextmanager
    def _lost_on_error(self, what: str) -> Generator[None]:
        """Whatever vLLM raises here leaves it dead, half asleep, or with weights that are half new."""
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            self._lost = f"{what}: {reason.removeprefix(f'{what}: ')}"
            raise PublishError(self._lost) from error

    async def prompt_logprobs(self, ids: Sequence[int], temperature: float = 1.0) -> list[float]:
        """Log-probs of a given text's tokens 1..T-1, each given the tokens before it. [T-1]"""
        params = SamplingParams(
            temperature=temperature, max_tokens=1, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY
        )
        final = None
        async for output in self._llm.generate(TokensPrompt(prompt_token_ids=list(ids)), params, f"fixed-{id(ids)}"):
            final = output
        if final is None or final.prompt_logprobs is None:
            raise RuntimeError("vLLM returned no prompt log-probs")
        entries = zip(final.prompt_logprobs[1:], list(ids)[1:], strict=True)
        return [entry[token].logprob for entry, token in entries if entry is not None]

    async def sleep(self) -> None:
        """Free the GPU's memory, weights included: `wake_weights`, `publish` and `wake_cache` must follow, in turn.

        Raises PublishError, as the other two do, and the engine is lost, if vLLM fails or is gone.
        """
        with self._lost_on_error("sleep"):
            await self._llm.sleep(level=2)  # level 1 would copy weights to the host that the next publish replaces
            self._asleep = True

    async def wake_weights(self) -> None:
        """Take back the memory of the weights, for `publish` to fill. The engine serves nothing yet."""
        self._check_serving()
        with self._lost_on_error("waking the weights"):
            await self._llm.wake_up(tags=["weights"])

    async def wake_cache(self) -> None:
        """Take back the memory of the KV cache and serve."""
        with self._lost_on_error("waking the KV cache"):
            if not await self._llm.wake_up(tags=["kv_cache"]):
                raise RuntimeError("vLLM is still asleep after its weights and its KV cache were woken")
            self._asleep = False

    async def shutdown(self) -> None:
        """End vLLM's own process. On a CPU it is killed at once: it holds nothing, and would take seconds to end."""
        self._llm.shutdown(timeout=0.0 if current_platform.is_cpu() else None)


@contextmanager
def _death_named() -> Generator[None]:
    """Raise EngineDead, which the driver knows without vLLM, where vLLM's process is gone."""
    try:
        yield
    except EngineDeadError as error:
        raise EngineDead(f"vLLM's own process has ended ({' '.join(str(error).split())})") from error


def _asked(request: Request) -> tuple[TokensPrompt, SamplingParams, str]:
    """A request as vLLM takes it; its output comes whole."""
    params = SamplingParams(
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=request.max_tokens,
        seed=request.seed,
        stop_token_ids=list(request.stop_ids),
        logprobs=0,
        output_kind=RequestOutputKind.FINAL_ONLY,
        detokenize=False,
        skip_clone=True,
    )
    return TokensPrompt(prompt_token_ids=request.prompt_ids), params, request.name


def _answer(request: Request, output: RequestOutput | PoolingRequestOutput, version: int) -> Answer:
    """vLLM's output for a request as an answer of the weights of `version`."""
    output = cast(RequestOutput, output)
    if (times := output.metrics) is not None:
        queued = "queued", times.queued_ts, times.scheduled_ts
        spans.add([queued, ("running", times.scheduled_ts, times.last_token_ts)])
    response = output.outputs[0]
    if response.logprobs is None:
        raise RuntimeError(f"vLLM returned no log-probs for request {request.name}")
    ids = list(response.token_ids)
    entries = cast(Sequence[LogprobsOnePosition], response.logprobs)  # only a prompt's log-probs have gaps
    logprobs = [entry[token].logprob for entry, token in zip(entries, ids, strict=True)]
    return Answer(ids, logprobs, str(response.finish_reason), version, cast(int, output.num_cached_tokens))
