"""What a run's engines are started with and called for, and that an engine with stale weights is noticed."""

import asyncio
import re
from collections.abc import Collection, Generator
from dataclasses import replace
from typing import Any

import pytest

from rollout import engines
from rollout.actor_spec import ActorSpec
from rollout.engines import EngineConfig, Engines, PublishError
from rollout.held import StartFailed
from rollout.messages import EngineDead
from rollout.placement import Place
from rollout.ray_actors import ActorDied, ActorTimeout
from rollout.seats import EnginesLost
from rollout.transfer import Bucket, HostBuffer, Meeting, TensorSpec

BUCKETS = tuple(
    Bucket(
        number=number,
        of=2,
        tensors=(TensorSpec(name=f"model.layers.{number}.up", dtype="float32", shape=(1,), num_bytes=4),),
        digests=(7,),
        contents={"layer 0": 2**63, "the rest": number},
        handle=HostBuffer(path="bucket", num_bytes=16),
    )
    for number in (1, 2)
)
SUM = {"layer 0": 0, "the rest": 3}
NOT_STARTED = StartFailed("engine 0", ("ValueError",), "too little memory is free", "engine.log")


spawned: list["Recorder"] = []


class Recorder:
    """A `Remote` that records its calls and answers at once. serves: a version to claim, or None."""

    def __init__(self, target: str, model: str, options: dict[str, Any], spec: ActorSpec) -> None:
        self.target, self.model, self.options, self.spec = target, model, options, spec
        self.calls: list[tuple[Any, ...]] = []
        self.serves: int | None = None
        self.fails: tuple[Any, ...] = ()
        self.lost = False
        spawned.append(self)

    def kill(self) -> None:
        self.calls.append(("kill",))

    async def acall(self, method: str, *args: Any) -> Any:
        return gathered([self.submit(method, *args)])[0]

    def submit(self, method: str, *args: Any) -> Any:
        self.calls.append((method, *args))
        if self.fails[:-1] == (method, *args):
            return self.fails[-1]
        if method == "serves":
            return not self.lost
        return (args[0] if self.serves is None else self.serves) if method == "finish" else None


class Buckets:
    """A learner's side that writes down into an engine's calls when a bucket is packed, sent and taken back."""

    def __init__(self, calls: list[tuple[Any, ...]]) -> None:
        self.calls = calls
        self.asked: list[set[int]] = []  # the ranks that were to send

    def buckets(self, version: int, timeout_s: float, ranks: Collection[int] = ()) -> Generator[Bucket]:
        self.asked.append(set(ranks))
        try:
            for bucket in BUCKETS:
                self.calls.append(("pack", version))
                yield bucket
        finally:
            self.calls.append(("close",))

    def transmit(self, timeout_s: float) -> None:
        self.calls.append(("transmit",))


def gathered(answers: list[Any], timeout_s: float | None = None) -> list[Any]:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Engines:
    spawned.clear()
    monkeypatch.setattr(engines, "spawn", Recorder)
    monkeypatch.setattr(engines, "gather", gathered)
    monkeypatch.setattr(engines, "answered", lambda _: True)
    monkeypatch.setattr(engines, "check_room", list)
    return Engines("folder", EngineConfig(count=2, device="cuda", sleep=True), context=512)


def recorders(started: Engines) -> tuple[Recorder, Recorder]:
    first, second = started.remotes
    assert isinstance(first, Recorder)
    assert isinstance(second, Recorder)
    return first, second


def test_a_publish_wakes_weights_loads_each_bucket_before_the_next_is_packed_checks_and_wakes_the_cache(
    started: Engines,
) -> None:
    first, second = recorders(started)
    started.publish(Buckets(first.calls), 3)
    loads = [("load", 3, bucket) for bucket in BUCKETS]
    assert first.calls == [
        *(("pack", 3), ("wake_weights",), loads[0], ("transmit",)),
        *(("pack", 3), loads[1], ("transmit",)),
        *(("close",), ("finish", 3, SUM), ("wake_cache",)),
    ]
    assert second.calls == [("wake_weights",), *loads, ("finish", 3, SUM), ("wake_cache",)]


def test_an_engine_that_serves_another_version_is_refused(started: Engines) -> None:
    recorders(started)[1].serves = 2
    with pytest.raises(PublishError, match=r"^publish of version 3: the last check: the engines serve \[3, 2\]"):
        started.publish(Buckets([]), 3)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PublishError("publish of version 3: b arrived with checksum 1"), "b arrived with checksum 1"),
        (ActorTimeout("no answer of engine 1 within 9 s"), "no answer of engine 1 within 9 s"),
    ],
    ids=["damaged", "stalled"],
)
def test_a_publish_that_fails_in_the_middle_names_its_bucket_and_no_engine_serves_half_of_it(
    started: Engines, error: Exception, message: str
) -> None:
    first, second = recorders(started)
    second.fails = ("load", 3, BUCKETS[1], error)
    whole = (
        f"publish of version 3: bucket 2 of 2 (model.layers.2.up to model.layers.2.up): {message}: resume=auto goes on"
    )
    with pytest.raises(PublishError, match=re.escape(whole)):
        started.publish(Buckets(first.calls), 3)
    calls = [call for call in first.calls if call != ("transmit",)]  # that of the failed bucket may come late
    assert calls[-3:] == [("close",), ("lose", message), ("serves",)]
    assert second.calls[-2] == ("lose", message)


@pytest.mark.parametrize("meets", [True, False], ids=["nccl", "other ways"])
@pytest.mark.parametrize("where", ["buckets", "transmit"])
def test_a_learner_that_is_lost_in_the_middle_of_a_publish_is_named_and_no_engine_is_replaced_for_it(
    started: Engines, monkeypatch: pytest.MonkeyPatch, meets: bool, where: str
) -> None:
    class Dying(Buckets):
        def buckets(self, version: int, timeout_s: float, ranks: Collection[int] = ()) -> Generator[Bucket]:
            yield BUCKETS[0]
            if where == "buckets":
                raise ActorDied("learner rank 0 died during pack")
            yield BUCKETS[1]

        def transmit(self, timeout_s: float) -> None:
            if where == "transmit":
                raise ActorDied("learner rank 0 died during transmit")

    def stuck(_: Any) -> bool:
        return False

    if meets:
        started.connect(Meeting(host="host", port=1, size=3, timeout_s=1.0))
    monkeypatch.setattr(engines, "answered", stuck)  # the engines wait for what the sender does not send
    with pytest.raises(ActorDied, match=r"^learner rank 0 died during (pack|transmit)$"):
        started.publish(Dying([]), 3)
    assert len(spawned) == 2
    assert [engine.calls[-1][0] for engine in recorders(started)] == ["lose", "lose"]


def test_an_engine_that_is_lost_asleep_is_replaced_by_the_next_publish(started: Engines) -> None:
    _, second = recorders(started)
    dead = PublishError("sleep: vLLM's own process has ended")
    second.fails, second.lost = ("sleep", dead), True
    started.sleep()
    second.fails = ("wake_weights", dead)
    started.publish(Buckets([]), 3)
    assert len(spawned) == 3
    assert started.take_losses().restarted == 1


def test_a_publish_that_fails_in_the_middle_replaces_the_engines_that_are_lost_and_is_sent_once_more(
    started: Engines,
) -> None:
    first, second = recorders(started)
    second.fails = ("load", 3, BUCKETS[1], ActorDied("engine 1 died during load"))
    second.lost = True
    started.publish(Buckets([]), 3)
    third = spawned[2]
    assert started.remotes == (first, third)
    assert second.calls[-2:] == [("shutdown",), ("kill",)]
    loads = [("load", 3, bucket) for bucket in BUCKETS]
    whole = [("wake_weights",), *loads, ("finish", 3, SUM), ("wake_cache",)]
    assert first.calls[-len(whole) :] == whole
    assert third.calls == [("ready",), ("sleep",), *whole]
    assert (second.options["gpu_memory_utilization"], third.options["gpu_memory_utilization"]) == (0.85, 0.05)
    assert started.take_losses().restarted == 1
    assert started.take_losses().restarted == 0


def test_engines_that_one_lost_one_leaves_half_new_are_replaced_together_and_count_as_one_loss(
    started: Engines,
) -> None:
    """One by one, eight engines would take eight starts, and more than engine.restarts."""
    many = Engines("folder", EngineConfig(count=8, restarts=1), context=512)
    before = list(many.remotes)
    for engine in before:
        assert isinstance(engine, Recorder)
        engine.lost = True
    last = before[-1]
    assert isinstance(last, Recorder)
    last.fails = ("load", 3, BUCKETS[1], ActorDied("engine 7 died during load"))
    many.publish(Buckets([]), 3)
    assert not set(before) & set(many.remotes)
    assert many.take_losses().restarted == 8


def test_only_the_ranks_beside_the_engines_that_take_the_weights_lend_their_memory(started: Engines) -> None:
    """Memory that a rank lends to no engine is never given back."""
    places = [Place(node=node, devices=(device,)) for node, device in (("a", "1"), ("a", "0"), ("b", "0"), ("b", "2"))]
    config = EngineConfig(count=1, device="cuda", sleep=True, tensor_parallel=2)
    sender = Buckets([])
    one = Engines("folder", config, context=512, places=places)
    one.publish(sender, 3)
    both = Engines("folder", replace(config, count=2), context=512, places=places)
    both.publish(sender, 3)
    second = both.remotes[1]
    assert isinstance(second, Recorder)
    second.fails = ("complete", "prompt", ActorDied("engine 1 died"))
    asyncio.run(both.seats[1].acall("complete", "prompt"))
    assert sender.asked == [{0, 1}, {0, 1, 2, 3}, {2, 3}]


LOSSES = [
    (ActorDied("engine 1 died during complete"), "engine_died"),
    (EngineDead("vLLM's own process has ended"), "engine_died"),
    (ActorTimeout("no answer of engine 1 within 9 s"), "engine_timeout"),
    (PublishError("this engine has weights of two versions"), "engine_half_new"),
]


@pytest.mark.parametrize(("error", "reason"), LOSSES, ids=["died", "core died", "silent", "half new"])
def test_what_an_engine_loses_is_asked_again_of_the_next_one_which_has_the_weights_first(
    started: Engines, error: Exception, reason: str
) -> None:
    async def ask_twice() -> list[Any]:
        return await asyncio.gather(*(started.seats[1].acall("complete", "prompt") for _ in range(2)))

    first, second = recorders(started)
    started.publish(Buckets([]), 3)
    before = list(first.calls)
    second.fails = ("complete", "prompt", error)
    assert asyncio.run(ask_twice()) == [None, None]
    third = spawned[2]
    loads = [("load", 3, bucket) for bucket in BUCKETS]
    sent = [("wake_weights",), *loads, ("finish", 3, SUM), ("wake_cache",)]
    assert third.calls == [("ready",), ("sleep",), *sent, ("complete", "prompt"), ("complete", "prompt")]
    assert first.calls == before
    losses = started.take_losses()
    assert (losses.restarted, dict(losses.requests)) == (1, {reason: 2})


def test_one_more_engine_lost_in_an_update_than_may_be_ends_the_run_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, started: Engines
) -> None:
    class Mortal(Recorder):
        """Dies of every request."""

        def submit(self, method: str, *args: Any) -> Any:
            return ActorDied("engine 0 died") if method == "complete" else super().submit(method, *args)

    monkeypatch.setattr(engines, "spawn", Mortal)
    mortal = Engines("folder", EngineConfig(restarts=2), context=512)
    for _ in range(2):  # a publish begins a new account
        mortal.publish(Buckets([]), 3)
        with pytest.raises(EnginesLost, match=r"^more than engine.restarts=2 lost in one update: engine 0 died$"):
            asyncio.run(mortal.seats[0].acall("complete", "prompt"))
        assert mortal.take_losses().restarted == 2


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("error", [ActorDied("engine 0 died during ready"), NOT_STARTED], ids=["died", "not started"])
@pytest.mark.parametrize("stillborn", [1, 2])
def test_an_engine_that_is_lost_while_it_starts_counts_and_another_one_is_started(
    monkeypatch: pytest.MonkeyPatch, stillborn: int, error: Exception
) -> None:
    """Two may be lost in an update: the one that a request meets, and one more."""

    class Stillborn(Recorder):
        """Dies before it serves."""

        def submit(self, method: str, *args: Any) -> Any:
            died = method == "ready" and len(spawned) <= stillborn
            return error if died else super().submit(method, *args)

    engine = Engines("folder", EngineConfig(restarts=2), context=512)
    (first,) = engine.remotes
    assert isinstance(first, Recorder)
    engine.publish(Buckets([]), 3)
    first.fails = ("complete", "prompt", ActorDied("engine 0 died"))
    spawned.clear()
    monkeypatch.setattr(engines, "spawn", Stillborn)
    if stillborn == 1:
        asyncio.run(engine.seats[0].acall("complete", "prompt"))
        assert engine.remotes == (spawned[1],)
        assert spawned[0].calls == [("shutdown",), ("kill",)]
    else:
        with pytest.raises(
            EnginesLost, match=f"^more than engine.restarts=2 lost in one update: {re.escape(str(error))}$"
        ):
            asyncio.run(engine.seats[0].acall("complete", "prompt"))
    assert engine.take_losses().restarted == 2


def test_while_the_learner_works_an_engine_that_is_lost_is_replaced_at_the_next_publish_only(started: Engines) -> None:
    _, second = recorders(started)
    started.publish(Buckets([]), 3)
    second.fails = ("complete", "prompt", ActorDied("engine 1 died"))
    with started.none_replaced():
        with pytest.raises(EnginesLost, match=r"^no engine is started anew while the learner works: engine 1 died$"):
            asyncio.run(started.seats[1].acall("complete", "prompt"))
        assert len(spawned) == 2
    second.fails = ("load", 4, BUCKETS[0], ActorDied("engine 1 died during load"))
    second.lost = True
    started.publish(Buckets([]), 4)
    assert started.remotes[1] is spawned[2]


def test_a_request_that_is_lost_while_the_learner_works_starts_no_engine_when_its_error_comes_later(
    started: Engines,
) -> None:
    _, second = recorders(started)
    started.publish(Buckets([]), 3)
    second.fails = ("complete", "prompt", ActorDied("engine 1 died"))

    async def lose() -> None:
        with started._restarting, started.none_replaced():  # as while another request's loss is looked at
            lost = asyncio.create_task(started.seats[1].acall("complete", "prompt"))
            while not started._losses.requests:
                await asyncio.sleep(0)
        await lost

    with pytest.raises(EnginesLost, match=r"^no engine is started anew while the learner works: engine 1 died$"):
        asyncio.run(lose())
    assert len(spawned) == 2


def test_an_error_that_is_the_requests_own_starts_no_engine(started: Engines) -> None:
    first, _ = recorders(started)
    first.fails = ("complete", "prompt", ValueError("too long"))
    with pytest.raises(ValueError, match="too long"):
        asyncio.run(started.seats[0].acall("complete", "prompt"))
    assert len(spawned) == 2


def test_every_wait_of_a_publish_has_what_is_left_of_its_limit(
    started: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float | None] = []
    monkeypatch.setattr(engines, "gather", lambda calls, limit=None: limits.append(limit) or calls)
    started.publish(Buckets([]), 3, timeout_s=7.0)
    assert len(limits) == 5  # weights wake, two buckets load, the check, the cache wakes
    assert all(limit is not None and limit <= 7.0 for limit in limits)
    assert limits == sorted(limits, key=lambda limit: -(limit or 0.0))


def test_only_engines_that_share_a_gpu_sleep_and_wake(started: Engines) -> None:
    resident = Engines("folder", EngineConfig(count=1), context=512)
    for engines_of_a_run in (started, resident):
        engines_of_a_run.sleep()
        engines_of_a_run.publish(Buckets([]), 3)
    names = [[name for name, *_ in engine.calls] for engine in (*started.remotes, *resident.remotes)]  # pyright: ignore
    turn = ["sleep", "wake_weights", "load", "load", "finish", "wake_cache"]
    assert names == [turn, turn, ["load", "load", "finish"]]


def test_a_prompt_goes_whole_through_a_cpu_engine() -> None:
    # Prefilled in pieces, a seeded request kills the engine on a CPU.
    options = EngineConfig(device="cpu").options(context=9000, prefix_caching=True)
    assert options["enable_chunked_prefill"] is False
    assert options["max_num_batched_tokens"] >= 9000


def test_only_an_engine_that_spans_gpus_has_processes_of_vllms_own() -> None:
    single, double = (
        EngineConfig(device="cuda", tensor_parallel=gpus).options(context=512, prefix_caching=True) for gpus in (1, 2)
    )
    assert "distributed_executor_backend" not in single
    assert double["distributed_executor_backend"] == "mp"


def test_a_gpu_engine_takes_long_batches_a_float32_head_and_its_cache_in_bytes() -> None:
    options = EngineConfig(device="cuda", kv_cache_bytes=2**33).options(context=512, prefix_caching=True)
    assert options["max_num_batched_tokens"] == 8192
    assert options["hf_overrides"] == {"head_dtype": "float32"}
    assert options["kv_cache_memory_bytes"] == 2**33


def test_a_cpu_engine_keeps_its_own_precision_and_a_small_cache() -> None:
    options = EngineConfig(device="cpu").options(context=512, prefix_caching=True)
    assert (options["kv_cache_memory_bytes"], "hf_overrides" in options) == (2**28, False)


def test_extra_options_come_last() -> None:
    options = EngineConfig(extra={"block_size": 16}).options(context=512, prefix_caching=False)
    assert (options["block_size"], options["enable_prefix_caching"]) == (16, False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("logprobs_mode", "engine.extra.logprobs_mode changes the distribution that tokens are drawn from"),
        ("top_k", "engine.extra.top_k changes the distribution that tokens are drawn from"),
        ("repetition_penalty", "engine.extra.repetition_penalty changes the distribution"),
        ("logits_processors", "engine.extra.logits_processors changes the distribution"),
        ("dtype", "engine.extra.dtype has a setting of its own: set cluster.dtype instead"),
        ("worker_extension_cls", "engine.extra.worker_extension_cls is set by the framework"),
        ("distributed_executor_backend", "engine.extra.distributed_executor_backend is set by the framework"),
        ("kv_cache_memry_bytes", "no argument of vLLM's AsyncEngineArgs: did you mean 'kv_cache_memory_bytes'?"),
        ("zzzz", "engine.extra.zzzz is no argument of vLLM's AsyncEngineArgs"),
    ],
)
def test_an_extra_argument_that_would_break_the_run_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineConfig(extra={"block_size": 16, name: 1})
