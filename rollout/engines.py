"""The engines of one run as the driver sees them: start, publish, rest, close."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Interval, doc

from rollout.ray_actors import ActorSpec, Remote, gather, spawn
from rollout.types import Device, Precision

# Without these, OpenMP threads spin against the other processes of a small machine, vLLM starts three processes
# instead of two and keeps a core to itself.
CPU_ENV = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "GOMP_SPINCOUNT": "1000",
}
COMMON_ENV = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}


class PublishError(RuntimeError):
    """An engine did not take the new weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """The vLLM engines of a run."""

    count: Annotated[int, Ge(1)] = 1
    """Number of engines. Follows cluster.engines."""

    device: Device = "cpu"
    """Where they compute. Follows cluster.device."""

    tensor_parallel: Annotated[int, Ge(1)] = 1
    """GPUs that one engine spans. Raise it if the model does not fit one GPU."""

    dtype: Precision = "float32"
    """Precision of weights and activations. Follows cluster.dtype."""

    max_num_seqs: Annotated[int, Ge(1)] = 128
    """Requests that one engine serves at once."""

    kv_cache_bytes: Annotated[int, Ge(1)] = 2**28
    """Memory of the KV cache in bytes. Read on a CPU only."""

    gpu_memory: Annotated[float, Interval(gt=0, le=1), doc("a share of the memory in (0, 1]")] = 0.85
    """Share of a GPU's memory that an engine takes, weights included. Read on a GPU only."""

    gpus: Annotated[float, Ge(0)] = 0.0
    """Share of a GPU that Ray reserves for each engine. Follows cluster.engine_gpus."""

    threads: Annotated[int, Ge(1)] = 2
    """CPU threads of each engine. Follows cluster.threads."""

    sleep: bool = False
    """Whether engines free their GPU memory while the learner works. Follows cluster.sleep."""

    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further arguments of vLLM's AsyncEngineArgs; add one with +engine.extra.NAME=VALUE."""

    def options(self, *, context: int, prefix_caching: bool) -> dict[str, Any]:
        """As vLLM's AsyncEngineArgs. context: prompt and response together, in tokens."""
        options: dict[str, Any] = {
            "dtype": self.dtype,
            "max_model_len": context,
            "max_num_seqs": self.max_num_seqs,
            "tensor_parallel_size": self.tensor_parallel,
            "enable_prefix_caching": prefix_caching,
        }
        if self.device == "cpu":
            options |= {
                "enforce_eager": True,  # compiling takes a minute and gains nothing
                "block_size": 32,  # the default 128 gives short prompts no prefix hits
                "kv_cache_memory_bytes": self.kv_cache_bytes,
                # A seeded request whose prompt is prefilled in pieces kills the engine on a CPU ("CPU Generator does
                # not use offset"), so prompts go in whole.
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(4096, context),
            }
        else:
            options |= {"gpu_memory_utilization": self.gpu_memory, "enable_sleep_mode": self.sleep}
        return options | dict(self.extra)

    def spec(self) -> ActorSpec:
        env = COMMON_ENV | {"OMP_NUM_THREADS": str(self.threads)} | (CPU_ENV if self.device == "cpu" else {})
        return ActorSpec(num_gpus=self.gpus, concurrency=1000, env=env)


class Engines:
    """Resident engines, one policy. Weights go in by file: every engine of a host reads the same shared memory."""

    def __init__(self, model: Path | str, config: EngineConfig, *, context: int, prefix_caching: bool = True) -> None:
        options = config.options(context=context, prefix_caching=prefix_caching)
        self.remotes: tuple[Remote, ...] = tuple(
            spawn("rollout.vllm_engine:Engine", str(model), options, spec=config.spec()) for _ in range(config.count)
        )
        self._sleep = config.sleep

    def wait_ready(self) -> None:
        gather([engine.submit("ready") for engine in self.remotes])

    def publish(self, weights: Path, version: int) -> None:
        """Every engine serves `version` when this returns. Raises PublishError where one says otherwise."""
        served = gather([engine.submit("publish", str(weights), version) for engine in self.remotes])
        if set(served) != {version}:
            raise PublishError(f"published version {version}, but the engines serve {served}: stale weights")

    def rest(self) -> None:
        """Give the GPU's memory to the learner, where both share one."""
        if self._sleep:
            gather([engine.submit("sleep") for engine in self.remotes])

    def wake(self) -> None:
        if self._sleep:
            gather([engine.submit("wake") for engine in self.remotes])

    def close(self) -> None:
        asyncio.run(self._shut_down())
        for engine in self.remotes:
            engine.kill()

    async def _shut_down(self) -> None:
        """vLLM's own worker processes go with an orderly shutdown; a killed actor would leave them behind."""
        await asyncio.gather(
            *(engine.acall("shutdown", timeout_s=30) for engine in self.remotes), return_exceptions=True
        )
