"""The engines of one run, as the driver sees them: start, publish, sleep, close."""

import asyncio
import math
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Self

from annotated_types import Ge, Interval, doc

from rollout.actor_spec import ActorSpec, Limit
from rollout.engine_arguments import check_extra
from rollout.held import StartFailed
from rollout.marks import BINDING
from rollout.placement import Place, engine_places
from rollout.ray_actors import ActorDied, ActorTimeout, Call, Remote, answered, gather, spawn
from rollout.ray_cluster import check_room
from rollout.seats import EnginesLost, Seat, reason_of
from rollout.transfer import Bucket, Deadline, Meeting, PublishError, Sender, add_contents
from rollout.types import Device, Precision

ENGINE = "rollout.vllm_engine:Engine"  # by name: the driver needs no vLLM
# Without these, OpenMP threads spin and slow the other processes of a small machine, vLLM starts three processes
# instead of two and keeps one core to itself, oneDNN keeps kernels for 1,024 shapes, a gigabyte after 10,000 rollouts,
# and the first requests wait until a comparison of log-probs is compiled, in seconds, for which a machine needs g++.
CPU_ENV = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "GOMP_SPINCOUNT": "1000",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
    "TORCH_COMPILE_DISABLE": "1",
}
CPU_BLOCK = 32  # tokens of one block of vLLM's cache
CPU_CACHE_BYTES = 2**28
GPU_BATCHED_TOKENS = 8192
BESIDE_LEARNER = {"gpu_memory_utilization": 0.05}
"""Of an engine that is started anew: vLLM refuses to start where less than this share of the GPU is free, and the
learner is there by then. Its KV cache has a size in bytes anyway."""
PUBLISH_S = 300.0
REMEDY = "resume=auto goes on from the last checkpoint; if it comes again, choose another cluster.weight_transfer"
LOOK_S = 0.01  # between two looks whether an engine has failed while the sender sends
PROBE_S = 10.0  # for an engine to say whether it serves
SHUTDOWN_S = 5.0  # for an engine to end its own processes; whatever is left ends with Ray
COMMON_ENV = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}


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

    kv_cache_bytes: Annotated[int | None, Ge(1), doc("1 or more, or null")] = None
    """Memory of the KV cache in bytes, on each GPU of the engine. null takes the room of `max_num_seqs` requests
    of the longest context; on a CPU at least 2**28, and at most an eighth of the memory."""

    gpu_memory: Annotated[float, Interval(gt=0, le=1), doc("a share of the memory in (0, 1]")] = 0.85
    """Share of a GPU's memory that must be free when an engine starts. Read on a GPU only."""

    threads: Annotated[int, Ge(1)] = 2
    """CPU threads of each engine. Follows cluster.threads."""

    sleep: bool = False
    """Whether engines free their GPU memory while the learner works. Follows cluster.sleep."""

    timeout_s: Annotated[float, Interval(gt=0, lt=math.inf)] = 600.0
    """Seconds that an engine may take to load weights that were published, to sleep or to wake."""

    response_timeout_s: Annotated[float, Interval(gt=0, lt=math.inf)] = 1800.0
    """Seconds that an engine may take for a response, or for a wave of them, time in its queue included."""

    restarts: Annotated[int, Ge(0)] = 3
    """Losses in one update after which engines are started anew, for those that died or fell silent; several lost at
    once count as one. One more ends the run."""

    request_times: bool = False
    """Whether engines measure how long each request queued and ran, which costs a little of every engine step. Set by
    `stepcredit profile`."""

    extra: Mapping[str, Any] = field(default_factory=dict[str, Any], metadata=BINDING)
    """Further arguments of vLLM's AsyncEngineArgs; add one with +engine.extra.NAME=VALUE."""

    def __post_init__(self) -> None:
        check_extra(self.extra)

    def options(self, *, context: int, prefix_caching: bool) -> dict[str, Any]:
        """As vLLM's AsyncEngineArgs. context: prompt and response together, in tokens."""
        options: dict[str, Any] = {
            "dtype": self.dtype,
            "max_model_len": context,
            "max_num_seqs": self.max_num_seqs,
            "tensor_parallel_size": self.tensor_parallel,
            "enable_prefix_caching": prefix_caching,
            "disable_log_stats": not self.request_times,
        }
        if self.tensor_parallel > 1:
            # With "ray", its workers would ask Ray for GPUs of their own.
            options["distributed_executor_backend"] = "mp"
        if self.device == "cpu":
            options |= {
                "enforce_eager": True,  # compiling takes a minute and gains nothing
                "block_size": CPU_BLOCK,  # the default 128 gives short prompts no prefix hits
                "kv_cache_memory_bytes": self.kv_cache_bytes or CPU_CACHE_BYTES,
                # A seeded request whose prompt is prefilled in pieces kills the engine on a CPU ("CPU Generator does
                # not use offset"), so prompts go in whole.
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(4096, context),
            }
        else:
            options |= {
                "gpu_memory_utilization": self.gpu_memory,
                "enable_sleep_mode": self.sleep,
                # In bytes vLLM need not measure the memory that is free, which a learner beside it changes.
                "kv_cache_memory_bytes": self.kv_cache_bytes,
                # vLLM's default here is 2,048: one prompt would fill a step, and every response beside it would wait.
                "max_num_batched_tokens": GPU_BATCHED_TOKENS,
                # The learner's logits are float32 as well. bfloat16 ones of size 20 to 30 lie 0.125 apart.
                "hf_overrides": {"head_dtype": "float32"},
            }
        return options | dict(self.extra)

    def spec(self, number: int, place: Place | None = None) -> ActorSpec:
        """How engine `number` is started.

        place: the GPUs that the engine shares; without one, Ray reserves GPUs for it where there are some.
        """
        env = COMMON_ENV | {"OMP_NUM_THREADS": str(self.threads)} | (CPU_ENV if self.device == "cpu" else {})
        return ActorSpec(
            name=f"engine {number}",
            num_gpus=self.tensor_parallel if self.device == "cuda" and place is None else 0,
            place=place,
            spread=self.device == "cpu",
            concurrency=1000,
            env=env,
            limit=Limit(seconds=self.timeout_s, setting="engine.timeout_s"),
            limits=dict.fromkeys(
                ("complete", "complete_wave", "prompt_logprobs"),
                Limit(seconds=self.response_timeout_s, setting="engine.response_timeout_s"),
            ),
            start=("ready",),
        )


@dataclass(slots=True, kw_only=True)
class EngineLosses:
    """What engines lost: the account of one update."""

    restarted: int = 0
    """Engines that were started anew."""
    requests: Counter[str] = field(default_factory=Counter[str])
    """Requests that had to be asked again, by reason."""


class Engines:
    """vLLM engines that stay loaded for a whole run and serve one policy; `renewed` makes them ready for another."""

    def __init__(
        self,
        model: Path | str,
        config: EngineConfig,
        *,
        context: int,
        prefix_caching: bool = True,
        places: Sequence[Place] = (),
    ) -> None:
        """Start the engines; returns at once.

        context: prompt and response together, in tokens. places: the GPUs of the learner's ranks, which the engines
        share; empty for engines that have GPUs of their own, or none. Raises NoPlace where the GPUs are too few.
        """
        options = config.options(context=context, prefix_caching=prefix_caching)
        shared = engine_places(places, engines=config.count, tensor_parallel=config.tensor_parallel) if places else ()
        specs = [config.spec(number, shared[number] if shared else None) for number in range(config.count)]
        check_room(specs)
        self._model, self._specs, self._places = str(model), specs, tuple(places)
        self._restart_options = options | (BESIDE_LEARNER if config.device == "cuda" else {})
        self.remotes: tuple[Remote, ...] = tuple(spawn(ENGINE, str(model), options, spec=spec) for spec in specs)
        self.seats = tuple(Seat(self, number) for number in range(config.count))
        """Where policies ask: engines that are lost are replaced."""
        self._can_sleep = config.sleep
        self._tensor_parallel = config.tensor_parallel
        self._start_s: float | None = None
        self._meets = False
        self._published: tuple[Sender, int, float] | None = None  # what an engine that starts anew must load
        self._losses = EngineLosses()
        self._restarts = 0  # since the last publish began
        self._restarts_allowed = config.restarts
        self._restarting = Lock()
        self._replaces = True

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Return once every engine can serve requests. Raises ActorTimeout where one cannot within the limit."""
        self._start_s = timeout_s
        gather([engine.submit("ready") for engine in self.remotes], timeout_s)

    def connect(self, meeting: Meeting) -> list[Call]:
        """Meet the learner for broadcasts, all of the group at once; `gather` waits for the calls."""
        self._meets = True
        ranks = range(1, 1 + self.num_workers, self._tensor_parallel)
        return [
            engine.submit("connect", replace(meeting, rank=rank))
            for engine, rank in zip(self.remotes, ranks, strict=True)
        ]

    @property
    def num_workers(self) -> int:
        """vLLM's workers: one for each GPU of each engine, or one for an engine on CPUs."""
        return len(self.remotes) * self._tensor_parallel

    def publish(self, sender: Sender, version: int, timeout_s: float = PUBLISH_S) -> None:
        """Load the sender's weights; every engine serves `version` when this returns. Engines that sleep are woken.

        The KV cache wakes last: the sender's buffer and weights, old ones and new, are never on a GPU beside it. Raises
        PublishError, with the bucket, if something does not arrive as it was sent or within the limit, or if an engine
        then holds other weights than the learner. Engines that are lost or half new by then are replaced together, as
        one loss, and all take the weights once more; those that a second failure leaves half new refuse every request.
        What else the sender raises, such as ActorDied, is raised at once: no other engine would help.
        """
        self._published = sender, version, timeout_s
        self._restarts = 0
        with _senders_errors():
            try:
                self._send(self.remotes, sender, version, timeout_s)
            except (PublishError, ActorDied, ActorTimeout) as error:
                lost = self._lost()
                if not lost:
                    raise
                for number, engine in self._next(lost, error).items():
                    self._install(number, engine)
                self._send(self.remotes, sender, version, timeout_s)

    def renewed(self, model: Path | str) -> Self:
        """These engines for another run, whose model differs in its weights alone. The first publish brings them.

        Whatever is under way or in a cache is dropped. Raises ActorDied or ActorTimeout where an engine does not
        answer, and PublishError where one has weights of two versions.
        """
        gather([engine.submit("forget") for engine in self.remotes], PROBE_S)
        self._model, self._published = str(model), None
        self._losses, self._restarts = EngineLosses(), 0
        return self

    def take_losses(self) -> EngineLosses:
        """What was lost since the last call."""
        losses, self._losses = self._losses, EngineLosses()
        return losses

    async def restarted(self, number: int, engine: Remote, error: Exception) -> None:
        """Return once another engine with the same weights is in the place of this one. Raises EnginesLost."""
        self._losses.requests[reason_of(error)] += 1
        # Read here: the thread may come to it only after `none_replaced` has ended with another request's error.
        await asyncio.to_thread(self._restart_once, number, engine, error, self._replaces)

    def _restart_once(self, number: int, engine: Remote, error: Exception, replaces: bool) -> None:
        """The requests that an engine lost all report it; the first one starts the next engine."""
        with self._restarting:
            if self.remotes[number] is not engine:
                return
            if not replaces:
                raise EnginesLost(f"no engine is started anew while the learner works: {error}") from error
            following = self._next([number], error)[number]
            if self._published is not None:
                with _senders_errors():
                    self._send([following], *self._published)
            self._install(number, following)  # only now: nobody may ask it before it has the weights

    @contextmanager
    def none_replaced(self) -> Generator[None]:
        """While the block runs, the sender is at work: requests of an engine that is lost raise EnginesLost."""
        self._replaces = False
        try:
            yield
        finally:
            self._replaces = True

    def _install(self, number: int, engine: Remote) -> None:
        self.remotes = (*self.remotes[:number], engine, *self.remotes[number + 1 :])

    def _next(self, numbers: Sequence[int], error: Exception) -> dict[int, Remote]:
        """New engines for these places, the old ones ended. Raises EnginesLost where it is not possible any more.

        Those that are lost before they serve count as another loss, and are started again.
        """
        serving: dict[int, Remote] = {}
        left = {number: self.remotes[number] for number in numbers}
        while left:
            self._count_loss(len(left), error)
            for call in [engine.submit("shutdown") for engine in left.values()]:
                with suppress(ActorDied, ActorTimeout):  # a kill alone frees the GPU's memory some time later
                    gather([call], SHUTDOWN_S)
            for engine in left.values():
                engine.kill()
            left = {n: spawn(ENGINE, self._model, self._restart_options, spec=self._specs[n]) for n in left}
            for number, call in {number: engine.submit("ready") for number, engine in left.items()}.items():
                try:
                    gather([call], self._start_s)
                    serving[number] = left.pop(number)
                except (ActorDied, ActorTimeout, StartFailed) as lost:
                    error = lost
        if self._can_sleep and self._published is not None:
            _call(list(serving.values()), "sleep")  # a publish wakes them
        return serving

    def _count_loss(self, engines: int, error: Exception) -> None:
        """Count engines that are started anew together. Raises EnginesLost where none may be."""
        if self._meets:
            raise EnginesLost(f"with cluster.weight_transfer=nccl no engine is started anew: {error}") from error
        if self._restarts == self._restarts_allowed:
            raise EnginesLost(
                f"more than engine.restarts={self._restarts_allowed} lost in one update: {error}"
            ) from error
        self._restarts += 1
        self._losses.restarted += engines

    def _lost(self) -> list[int]:
        """The numbers of the engines that do not answer, or have weights of two versions."""
        lost: list[int] = []
        for number, engine in enumerate(self.remotes):
            try:
                serves = gather([engine.submit("serves")], PROBE_S)[0]
            except (ActorDied, ActorTimeout):
                serves = False
            if not serves:
                lost.append(number)
        return lost

    def _send(self, engines: Sequence[Remote], sender: Sender, version: int, timeout_s: float) -> None:
        """Load the sender's weights into these engines. Raises PublishError."""
        limit, where, pool = Deadline(timeout_s), "the first bucket", ThreadPoolExecutor(1)
        try:
            contents: dict[str, int] = {}
            with closing(_packed(sender.buckets(version, timeout_s, self._beside(engines)))) as buckets:
                for bucket in buckets:
                    where = str(bucket)
                    if self._can_sleep and bucket.number == 1:
                        _call(engines, "wake_weights", limit=limit)
                    loading = [engine.submit("load", version, bucket) for engine in engines]
                    _await_both(loading, pool.submit(sender.transmit, limit.left_s), limit)
                    contents = add_contents(contents, bucket.contents)
                    where = f"after {bucket}"
            where = "the last check"
            served = _call(engines, "finish", version, contents, limit=limit)
            if set(served) != {version}:
                raise PublishError(f"the engines serve {served}: stale weights")
        except (PublishError, ActorTimeout) as error:
            reason = str(error).removeprefix(f"publish of version {version}: ")
            _lose(engines, reason)
            raise PublishError(f"publish of version {version}: {where}: {reason}: {REMEDY}") from error
        except BaseException as error:
            _lose(engines, str(error))
            raise
        finally:
            pool.shutdown(wait=False)
        if self._can_sleep:
            _call(engines, "wake_cache", limit=limit)

    def _beside(self, engines: Sequence[Remote]) -> frozenset[int]:
        """The learner's ranks whose GPUs these engines share."""
        places = [engine.spec.place for engine in engines if engine.spec.place is not None]
        gpus = {(place.node, device) for place in places for device in place.devices}
        return frozenset(rank for rank, own in enumerate(self._places) if (own.node, own.devices[0]) in gpus)

    def sleep(self) -> None:
        """Free the GPUs' memory until the next publish, if engines and learner share GPUs; otherwise do nothing.

        The next publish replaces an engine that is lost here.
        """
        if self._can_sleep:
            for call in [engine.submit("sleep") for engine in self.remotes]:
                with suppress(PublishError, ActorDied, ActorTimeout):
                    gather([call])

    def close(self) -> None:
        """Stop the engines and their processes."""
        asyncio.run(self._shut_down())
        for engine in self.remotes:
            engine.kill()

    async def _shut_down(self) -> None:
        """vLLM's own processes have ended, and their memory is free, when this returns. A kill alone would not wait."""
        await asyncio.gather(
            *(engine.acall("shutdown", timeout_s=SHUTDOWN_S) for engine in self.remotes), return_exceptions=True
        )


class _SenderFailed(Exception):
    """What the sender raised: the engines that it has left half new are not to blame."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def _senders_errors() -> Generator[None]:
    """Raise what the sender raised as it was."""
    try:
        yield
    except _SenderFailed as failed:
        raise failed.error from failed


@contextmanager
def _by_sender() -> Generator[None]:
    """Raise _SenderFailed for what the sender raises, but for PublishError: a second try may help."""
    try:
        yield
    except PublishError:
        raise
    except Exception as error:
        raise _SenderFailed(error) from error


def _packed(buckets: Generator[Bucket]) -> Generator[Bucket]:
    """The sender's buckets."""
    with _by_sender():
        yield from buckets


def _await_both(loading: Sequence[Call], sending: Future[None], limit: Deadline) -> None:
    """Return once the engines have a bucket and the sender has sent it. What either raises ends the wait for both."""
    while not (sending.done() or any(map(answered, loading))):
        wait([sending], LOOK_S)
    if not sending.done() or sending.exception() is None:
        gather(loading, limit.left_s)
    with _by_sender():
        sending.result()


def _lose(engines: Sequence[Remote], reason: str) -> None:
    """Tell the engines that the publish has failed; no answer is waited for, since one of them may be stuck."""
    for engine in engines:
        engine.submit("lose", reason)


def _call(engines: Sequence[Remote], method: str, *args: Any, limit: Deadline | None = None) -> list[Any]:
    """Call a method of these engines at once and wait for the answers."""
    calls = [engine.submit(method, *args) for engine in engines]
    return gather(calls, None if limit is None else limit.left_s)
