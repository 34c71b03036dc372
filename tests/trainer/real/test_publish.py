"""A real engine takes weights by every way that a CPU has, and serves nothing once it holds others than it should."""

import sys
from collections.abc import Collection, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, distributed
from transformers import AutoModelForCausalLM

from rollout.buckets import broadcast_group, meeting_store, spec_of
from rollout.engines import EngineConfig, Engines
from rollout.messages import Request
from rollout.ray_actors import gather
from rollout.seats import EnginesLost
from rollout.transfer import Bucket, HostBuffer, Meeting, PublishError, Route, Way
from scripts.bench import publish
from tests.scripts.test_bench_command_line import check_numbers
from tests.trainer.forked import fork_ranks
from trainer.commands.proof_model import write_model
from trainer.config.shape import ModelShape
from trainer.learner.outgoing import Outgoing

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

SHAPE = ModelShape(hidden=64, layers=2, heads=2, kv_heads=1, mlp=128, vocabulary=512, tied=False, qkv_bias=True)
IDS = list(range(20, 60))


class ModelSender:
    """Sends a model of this process. damage: what goes wrong in the second bucket of the next publish."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.route = Route(way="shm")
        self.group: distributed.ProcessGroup
        self.damage: str | None = None

    def weights(self, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        return ((name, self.model.get_parameter(name).detach()) for name in names)

    def buckets(self, version: int, timeout_s: float, ranks: Collection[int] = ()) -> Generator[Bucket]:
        specs = [spec_of(name, parameter) for name, parameter in self.model.named_parameters()]
        self.outgoing = Outgoing(self.route, version, specs, sends=True)
        with closing(self.outgoing):
            for number in range(1, self.outgoing.num_buckets + 1):
                bucket = self.outgoing.pack(number, self.weights)
                assert bucket is not None
                if number == 2 and self.damage == "flipped":
                    assert isinstance(bucket.handle, HostBuffer)
                    torch.from_file(bucket.handle.path, shared=True, size=16, dtype=torch.uint8)[9] ^= 1
                if number == 2 and self.damage == "stale":
                    bucket = replace(bucket, contents={name: value ^ 1 for name, value in bucket.contents.items()})
                yield bucket

    def transmit(self, timeout_s: float) -> None:
        if self.route.way == "nccl":
            self.outgoing.transmit(self.group)

    def meet(self, engines: Engines) -> None:
        store = meeting_store("127.0.0.1")
        meeting = Meeting(host=store.host, port=store.port, size=1 + engines.num_workers, timeout_s=100.0)
        coming = engines.connect(meeting)
        self.group = broadcast_group("cpu", meeting, store)
        gather(coming, 100.0)

    def moved(self) -> None:
        """Take a step that changes every log-prob."""
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))

    def logprobs(self) -> np.ndarray:
        """Of the ids from the second on. [T-1]"""
        with torch.no_grad():
            table = self.model(torch.tensor([IDS])).logits[0, :-1].log_softmax(-1)
        return table.gather(1, torch.tensor(IDS[1:])[:, None])[:, 0].numpy()


def served(engines: Engines) -> np.ndarray:
    return np.array(engines.remotes[0].call("prompt_logprobs", IDS))


@pytest.mark.parametrize(
    ("workers", "damage", "message"),
    [
        (1, "flipped", r"bucket 2 of \d+ \(model.*\): .* arrived with checksum"),
        (2, "stale", r"the last check: the engine's weights are not the learner's in \d of 3 layers"),
    ],
)
def test_an_engine_takes_weights_by_every_way_and_is_lost_with_one_wrong_value(
    tmp_path: Path, workers: int, damage: str, message: str
) -> None:
    """With two workers, each holds a half of every layer."""
    write_model(SHAPE, tmp_path / "model", "cpu")
    sender = ModelSender(tmp_path / "model")
    ways: tuple[Way, ...] = ("file", "shm", "nccl", "shm")
    config = EngineConfig(tensor_parallel=workers, threads=1)
    with closing(Engines(tmp_path / "model", config, context=128)) as engines:
        engines.wait_ready(300)
        sender.meet(engines)
        for version, way in enumerate(ways):
            sender.moved()
            sender.route = Route(way=way, folder=tmp_path, bucket_bytes=2**15)
            assert np.abs(served(engines) - sender.logprobs()).max() > 0.1
            engines.publish(sender, version)
            np.testing.assert_allclose(served(engines), sender.logprobs(), atol=1e-4)
        sender.damage = damage
        refused = "^with cluster.weight_transfer=nccl no engine is started anew: publish of version 9: "
        lost = f"{refused}{message}.*: resume=auto"
        with pytest.raises(EnginesLost, match=lost):
            engines.publish(sender, 9)
        with pytest.raises(PublishError, match=r"serves nothing \(publish of version 9: "):
            engines.remotes[0].call("complete", Request("lost", IDS, 1.0, 1.0, 8, 0, ()))


def test_a_quick_bench_of_publishes_ends_with_a_line_of_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, with the Ray of these tests and a forked rank."""
    fork_ranks(monkeypatch)
    for name in ("start", "stop"):
        monkeypatch.setattr(publish.ray_cluster, name, lambda **_: None)
    monkeypatch.setattr(publish, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    monkeypatch.setattr(sys, "argv", ["publish", "--quick"])
    publish.main()
    check_numbers(capsys.readouterr().out)
