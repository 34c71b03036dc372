"""What a run's engines are started with and called for, and that an engine with stale weights is noticed."""

from pathlib import Path
from typing import Any

import pytest

from rollout import engines
from rollout.engines import EngineConfig, Engines, PublishError


class Recorder:
    """A `Remote` that records its calls and answers at once. serves: a version to claim, or None."""

    def __init__(self, target: str, model: str, options: dict[str, Any], **_: Any) -> None:
        self.target, self.model, self.options = target, model, options
        self.calls: list[tuple[Any, ...]] = []
        self.serves: int | None = None

    def submit(self, method: str, *args: Any) -> Any:
        self.calls.append((method, *args))
        return (args[1] if self.serves is None else self.serves) if method == "publish" else None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Engines:
    monkeypatch.setattr(engines, "spawn", Recorder)
    monkeypatch.setattr(engines, "gather", list)
    monkeypatch.setattr(engines, "check_room", list)
    return Engines("folder", EngineConfig(count=2, device="cuda", sleep=True), context=512)


def test_a_publish_wakes_weights_then_loads_then_wakes_the_cache_and_carries_the_files_checksum(
    started: Engines,
) -> None:
    started.publish(Path("weights"), 3, "abc")
    calls = [("wake_weights",), ("publish", "weights", 3, "abc"), ("wake_cache",)]
    assert [engine.calls for engine in started.remotes] == [calls] * 2  # pyright: ignore


def test_an_engine_that_serves_another_version_is_refused(started: Engines) -> None:
    started.remotes[1].serves = 2  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(PublishError, match=r"published version 3, but the engines serve \[3, 2\]"):
        started.publish(Path("weights"), 3, "abc")


def test_only_engines_that_share_a_gpu_sleep_and_wake(started: Engines) -> None:
    resident = Engines("folder", EngineConfig(count=1), context=512)
    for engines_of_a_run in (started, resident):
        engines_of_a_run.sleep()
        engines_of_a_run.publish(Path("weights"), 3, "abc")
    names = [[name for name, *_ in engine.calls] for engine in (*started.remotes, *resident.remotes)]  # pyright: ignore
    turn = ["sleep", "wake_weights", "publish", "wake_cache"]
    assert names == [turn, turn, ["publish"]]


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
