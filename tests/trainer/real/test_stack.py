"""vLLM and the learner on the same text; and whole runs: as recorded, with revisions."""

import json
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from envs.prompts import Message
from rollout.buckets import as_words, content, spec_of
from rollout.engines import EngineConfig, Engines
from rollout.messages import Answer, Request
from rollout.ray_actors import ActorTimeout, gather
from rollout.record import read_groups
from rollout.transfer import Bucket, PublishError, Route, Way, WholeFile, add_contents, layer_of
from rollout.weights import checksum
from tests.trainer.real.conftest import Stack, unclocked
from trainer.config.learner import LearnerConfig, LoraConfig
from trainer.data.codec import ChatCodec
from trainer.data.tokens import TokenBatch
from trainer.learner.driver import Learner
from trainer.report.metric_rows import read_metrics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden"
TEXT = "Crafting commands:\ncraft 1 copper rod using 2 copper\n\nGoal: craft copper rod."
TRAINED = LearnerConfig(learning_rate=1e-3, threads=2)
TOLERANCE = 1e-3  # nats, float32 on both sides; one optimizer step below moves log-probs by a hundred times as much


def machine() -> dict[str, str]:
    """What sums of floating-point numbers depend on, besides the code."""
    lines = [line.split(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    cpu = {key.strip(): value.strip() for key, value in (line for line in lines if len(line) == 2)}
    names = ("vendor_id", "cpu family", "model")
    return {name: cpu.get(name, "") for name in names} | {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def with_recording(recordings: list[dict[str, Any]], rows: list[dict[str, float]]) -> list[dict[str, Any]]:
    """The recordings with that of this machine anew. If its numbers are others, those of other machines are stale."""
    here = machine()
    own = next((recording for recording in recordings if recording["machine"] == here), None)
    changed = own is not None and own["rows"] != rows
    return [*(one for one in recordings if one is not own and not changed), {"machine": here, "rows": rows}]


@pytest.mark.parametrize("estimator", ["gigpo", "bipace", "ibpo"])
def test_three_updates_give_the_recorded_numbers(
    run_of: Callable[[str], Path], estimator: str, pytestconfig: pytest.Config
) -> None:
    """To the last digit. Another kind of machine adds floats otherwise, and sooner or later samples another token."""
    rows, file = unclocked(read_metrics(run_of(estimator))), GOLDEN / f"{estimator}.json"
    recordings = json.loads(file.read_text())
    if pytestconfig.getoption("--record-golden"):
        recordings = with_recording(recordings, rows)
        file.write_text(json.dumps(recordings, indent=1) + "\n")
    here = machine()
    recorded = next((recording["rows"] for recording in recordings if recording["machine"] == here), None)
    if recorded is None:
        pytest.skip(f"nothing is recorded for this kind of machine, which --record-golden would do: {here}")
    assert rows == recorded


def test_a_policy_revises_its_failures(run_of: Callable[[str], Path]) -> None:
    folder = run_of("ibpo")
    for update, numbers in enumerate(read_metrics(folder)[1:], start=1):
        groups = list(read_groups(folder / "rollouts" / f"update-{update:06d}.jsonl.zst"))
        failures = [(rollout, group) for group in groups for rollout in group.trajectories if not rollout.success]
        revisions = [revision for group in groups for revision in group.revisions or ()]
        assert numbers["revise/rollouts"] == len(failures) > 0
        assert numbers["revise/revisions"] == len(revisions) == 2 * len(failures)  # beside two siblings each
        response_tokens = [
            step.completion.token_ids.size for revision in revisions for step in revision.trajectory.steps
        ]
        assert numbers["revise/response_tokens"] == sum(response_tokens) > 0
        assert numbers["revise/succeeded"] == sum(revision.trajectory.success for revision in revisions)
        assert numbers["seconds/revise"] > 0.0
        for rollout, group in failures:
            attempt = "\n".join(step.action for step in rollout.steps)
            for revision in group.revisions or ():
                if revision.trajectory.sibling == rollout.sibling and len(rollout.steps) > 1:
                    shown = revision.trajectory.steps[0].observation
                    assert shown.startswith(f"{rollout.steps[0].observation}\n\nFailed attempt:\n{attempt}")


class Damaged:
    """A learner whose file is damaged before the engines read it."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner

    def buckets(self, version: int, timeout_s: float, ranks: Collection[int] = ()) -> Generator[Bucket]:
        for bucket in self.learner.buckets(version, timeout_s):
            assert isinstance(bucket.handle, WholeFile)
            path = Path(bucket.handle.path)
            data = bytearray(path.read_bytes())
            data[-1] ^= 0xFF
            path.write_bytes(data)
            yield bucket

    def transmit(self, timeout_s: float) -> None:
        self.learner.transmit(timeout_s)


def logprobs_agree(
    engines: Engines, folder: Path, work: Path, way: Way = "file", config: LearnerConfig = TRAINED
) -> None:
    """Engine and learner give a text the same log-probs before and after a publish; a damaged publish is refused."""
    ids = ChatCodec(folder).encode_response(TEXT)
    batch = TokenBatch.from_rows([ids[:5]], [ids[5:]], trajectory=[0], time=[0])
    with closing(Learner.start(config, folder)) as learner:
        learner.route = Route(way=way, folder=work, bucket_bytes=2**18)

        def both() -> tuple[np.ndarray, np.ndarray]:
            served = engines.remotes[0].call("prompt_logprobs", ids.tolist())
            return np.array(served[4:]), learner.score(batch).logprobs

        engines.publish(learner, 0)
        served_before, scored_before = both()
        np.testing.assert_allclose(served_before, scored_before, atol=TOLERANCE)
        learner.sft(batch)
        engines.publish(learner, 1)
        served, scored = both()
        np.testing.assert_allclose(served, scored, atol=TOLERANCE)
        assert np.abs(scored - scored_before).max() > 100 * TOLERANCE
        if way == "file":  # which is read before the old weights go
            with pytest.raises(PublishError, match=r"publish of version 2: bucket 1 of 1 .*: .*the learner wrote "):
                engines.publish(Damaged(learner), 2)
            np.testing.assert_array_equal(both()[0], served)


def test_an_engine_ends_a_response_at_a_stop_id_and_keeps_it(stack: Stack) -> None:
    prompt = ChatCodec(stack.policy).encode((Message(role="user", content=TEXT),)).tolist()

    def greedy(*stop_ids: int) -> Answer:
        request = Request("stop-" + "-".join(map(str, stop_ids)), prompt, 0.0, 1.0, 8, None, stop_ids)
        return stack.engines.remotes[0].call("complete", request)

    ids = greedy().token_ids
    stop = ids[1]
    assert greedy(stop).token_ids == ids[: ids.index(stop) + 1]
    assert greedy(stop).finish_reason == "stop"


def test_requests_of_a_wave_that_come_late_are_in_the_queue_before_the_engine_goes_on(stack: Stack) -> None:
    engine = stack.engines.remotes[0]
    prompt = ChatCodec(stack.policy).encode((Message(role="user", content=TEXT),)).tolist()
    wave = [Request(f"late-{number}", prompt[number:], 1.0, 1.0, 16, number, ()) for number in range(8)]
    punctual = engine.call("complete_wave", wave)
    engine.call("be_late", 0.2)
    late = engine.call("complete_wave", wave)
    assert engine.call("be_late", 0.0) == ["request"] * len(wave) + ["resume"]
    assert late == punctual


def whole(path: Path) -> Bucket:
    """A file of weights as a publish sends it."""
    weights = load_file(path)
    contents = add_contents(*({layer_of(name): as_words([content(one)])[0]} for name, one in weights.items()))
    specs = tuple(spec_of(name, one) for name, one in weights.items())
    handle = WholeFile(path=str(path), checksum=checksum(path))
    return Bucket(number=1, of=1, tensors=specs, digests=(), contents=contents, handle=handle)


def test_an_engine_that_slept_takes_weights_but_serves_only_after_its_cache_woke(stack: Stack) -> None:
    engine, bucket = stack.engines.remotes[0], whole(stack.policy / "model.safetensors")
    prompt = ChatCodec(stack.policy).encode((Message(role="user", content=TEXT),)).tolist()
    for method in ("sleep", "wake_weights"):
        engine.call(method)
    engine.call("load", 3, bucket)
    assert engine.call("finish", 3, bucket.contents) == 3
    asked = engine.submit("complete", Request("asleep", prompt, 1.0, 1.0, 8, 0, ()))
    with pytest.raises(ActorTimeout):
        gather([asked], timeout_s=1)
    engine.call("wake_cache")
    assert gather([asked])[0].policy_version == 3


@pytest.mark.parametrize("way", ["file", "shm"])
def test_engine_and_learner_give_a_tiny_policys_text_the_same_logprobs(stack: Stack, tmp_path: Path, way: Way) -> None:
    logprobs_agree(stack.engines, stack.policy, tmp_path, way)


def test_an_engine_serves_an_adapter_that_was_merged_into_its_weights(stack: Stack, tmp_path: Path) -> None:
    logprobs_agree(stack.engines, stack.policy, tmp_path, config=replace(TRAINED, lora=LoraConfig(rank=8)))


@pytest.mark.usefixtures("ray_session")
def test_engine_and_learner_give_a_real_models_text_the_same_logprobs(smollm2: Path, tmp_path: Path) -> None:
    with closing(Engines(smollm2, EngineConfig(), context=256)) as engines:
        engines.wait_ready()
        logprobs_agree(engines, smollm2, tmp_path)
