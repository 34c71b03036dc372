"""The one file that knows vLLM: an engine that samples tokens and takes new weights in place.

Two kinds of process import it: the Ray actor that holds the engine, and vLLM's own worker processes. Those import it
through `worker_extension_cls`, which makes the weight transfer below known to them.
"""

# Signatures of vLLM and safetensors are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from vllm.config.weight_transfer import WeightTransferConfig
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferInitRequest,
    WeightTransferUpdateInfo,
    WeightTransferUpdateRequest,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs import TokensPrompt
from vllm.logprobs import LogprobsOnePosition
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, UnquantizedEmbeddingMethod
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.outputs import PoolingRequestOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.output_processor import RequestOutputCollector

from rollout.engine_log import HIDDEN_CAUSE, root_cause
from rollout.messages import Answer, Request
from rollout.weights import verify

BACKEND = "stepcredit_file"


@dataclass
class NoInit(WeightTransferInitInfo):
    """Nothing is set up beforehand: each update names its file."""


@dataclass
class WeightFile(WeightTransferUpdateInfo):
    """A safetensors file with every parameter under its Hugging Face name."""

    path: str
    """On this host."""


class FileTransfer(WeightTransferEngine[NoInit, WeightFile]):
    """Loads weights from a file in shared memory: only its path travels.

    It works on CPUs, where the transfers that vLLM brings do not.
    """

    init_info_cls = NoInit
    update_info_cls = WeightFile

    def init_transfer_engine(self, init_info: NoInit) -> None:
        pass

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: WeightFile) -> None:
        with safe_open(update_info.path, framework="pt") as file:
            cast(Any, self.model).load_weights((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)
        if self.device.type == "cpu":
            self._repack_heads()

    def _repack_heads(self) -> None:
        """On a CPU a tied head keeps a packed copy of the embedding. Without this, it would go on using the old one."""
        for module in self.model.modules():
            if isinstance(module, ParallelLMHead) and isinstance(module.quant_method, UnquantizedEmbeddingMethod):
                dispatch_cpu_unquantized_gemm(module, remove_weight=False)

    def shutdown(self) -> None:
        pass


if BACKEND not in WeightTransferEngineFactory._registry:  # pyright: ignore[reportPrivateUsage]  no public way to ask
    WeightTransferEngineFactory.register_engine(BACKEND, FileTransfer)


class WorkerExtension:
    """Names this module to vLLM's workers; importing it there registers `FileTransfer`."""


class Engine:
    """vLLM's async engine in an actor: token ids in, sampled ids and their log-probs out."""

    def __init__(self, model: str, options: Mapping[str, Any]) -> None:
        """options: more AsyncEngineArgs; those that this framework depends on are set here and cannot be overridden.

        Raises what vLLM raises, but a RuntimeError with the cause where vLLM only points to its log.
        """
        arguments = AsyncEngineArgs(
            model=model,
            logprobs_mode="processed_logprobs",  # of the distribution that was sampled from, temperature included
            weight_transfer_config=WeightTransferConfig(backend=BACKEND),
            worker_extension_cls=f"{WorkerExtension.__module__}.{WorkerExtension.__qualname__}",
            disable_log_stats=True,
            **options,
        )
        try:
            self._llm = AsyncLLM.from_engine_args(arguments)
        except RuntimeError as error:
            if HIDDEN_CAUSE not in str(error):
                raise
            with open("/proc/self/fd/1", errors="replace") as log:  # where vLLM's processes write theirs
                raise RuntimeError(root_cause(log) or str(error)) from error
        self._ready = False
        self._asleep = False
        self._version = 0

    async def ready(self) -> bool:
        """Return once requests can be served."""
        if not self._ready:
            await self._llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info={}))
            self._ready = True
        return True

    async def complete(self, request: Request) -> Answer:
        """Sample one response."""
        version = self._version
        final = None
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
        await self._llm.pause_generation(mode="keep", clear_cache=True)
        version = self._version
        try:
            queued = [await self._queued(request) for request in requests]
        finally:
            await self._llm.resume_generation()
        return [_answer(request, await output.get(), version) for request, output in zip(requests, queued, strict=True)]

    async def _queued(self, request: Request) -> RequestOutputCollector:
        """Send a request to the engine's core; returns where its output will be."""
        prompt, params, name = _asked(request)
        return await self._llm.add_request(name, prompt, params)

    async def publish(self, path: str, version: int, checksum: str) -> int:
        """Load the weights of a safetensors file in place; requests in flight wait. Returns the version now served.

        A sleeping engine takes them after `wake_weights`, and serves after `wake_cache`. Raises PublishError, with the
        old weights still in place, if the file is missing or has another checksum.
        """
        await asyncio.to_thread(verify, Path(path), version, checksum)
        # The cache holds keys and values of the old weights, so whatever is in flight computes its own again.
        await self._llm.pause_generation(mode="keep", clear_cache=True)
        await self._llm.start_weight_update()
        await self._llm.update_weights(WeightTransferUpdateRequest(update_info={"path": path}))
        await self._llm.finish_weight_update(weight_version=str(version))
        if not self._asleep:
            await self._llm.resume_generation()
        self._version = version
        return int(await self._llm.get_weight_version())

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
        """Free the GPU's memory, weights included: `wake_weights`, `publish` and `wake_cache` must follow, in turn."""
        await self._llm.sleep(level=2)  # level 1 would copy weights to the host that the next publish replaces
        self._asleep = True

    async def wake_weights(self) -> None:
        """Take back the memory of the weights, for `publish` to fill. The engine serves nothing yet."""
        await self._llm.wake_up(tags=["weights"])

    async def wake_cache(self) -> None:
        """Take back the memory of the KV cache and serve. Raises RuntimeError if something is still asleep."""
        if not await self._llm.wake_up(tags=["kv_cache"]):
            raise RuntimeError("vLLM is still asleep after its weights and its KV cache were woken")
        self._asleep = False

    async def shutdown(self) -> None:
        self._llm.shutdown()


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
    response = cast(RequestOutput, output).outputs[0]
    if response.logprobs is None:
        raise RuntimeError(f"vLLM returned no log-probs for request {request.name}")
    ids = list(response.token_ids)
    entries = cast(Sequence[LogprobsOnePosition], response.logprobs)  # only a prompt's log-probs have gaps
    logprobs = [entry[token].logprob for entry, token in zip(entries, ids, strict=True)]
    return Answer(ids, logprobs, str(response.finish_reason), version)
