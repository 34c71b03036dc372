"""That an engine holds the learner's weights after a publish, says what the learner says, and refuses damaged ones."""

import time
from collections.abc import Collection, Generator
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np

from rollout.ray_actors import gather
from rollout.seats import EnginesLost
from rollout.transfer import Bucket, Route, Sender, Way
from trainer.commands.proof_bench import Bench, Shown, in_a_process
from trainer.commands.proof_model import exact_logprobs, write_model
from trainer.learner.driver import Learner
from trainer.setup.exchange import BYTES
from trainer.setup.gpu_memory import GIB

PUBLISH_S = 120.0
AGREEING_ROWS = 8
"""Rows whose log-probs the engine, the learner and float32 are compared on."""
FLOAT32_NATS = 1e-5
"""What two float32 passes may differ by."""
AGREEMENT = 1.5
"""How much farther than the learner the engine may be from float32: both round to bfloat16, each in its own order."""


class PublishProof:
    """The parts that an engine and a learner pass together."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.exact: np.ndarray
        self.agreed: float | None = None

    def make_model(self) -> Shown:
        in_a_process(partial(write_model, self.bench.spec.shape, self.bench.model, self.bench.spec.device))
        batch = self.bench.rows(4)
        rows = np.stack([batch.row(number) for number in range(AGREEING_ROWS)])
        self.exact = in_a_process(
            partial(exact_logprobs, self.bench.model, rows, self.bench.spec.response, self.bench.spec.device)
        )
        size = sum(file.stat().st_size for file in self.bench.model.iterdir())
        return Shown(numbers={"parameters": self.bench.spec.shape.parameters, "gib": size / GIB})

    def publish(self, way: Way) -> Shown:
        """The engine, whose own weights go as it sleeps, compares what it then holds with the learner's checksums."""
        self.bench.engines.sleep()
        with self.bench.memory.watched() as peak:
            before, began = self.bench.memory.used_gib(), time.perf_counter()
            self.bench.engines.publish(self._routed(way), self.bench.version, PUBLISH_S)
            seconds = time.perf_counter() - began
        self.bench.version += 1
        size = self.bench.spec.shape.parameters * BYTES[self.bench.spec.dtype] / GIB
        memory = {"before_gib": before, "peak_gib": peak.gib, "used_gib": self.bench.memory.used_gib()}
        return Shown(numbers={"weights_gib": size, "publish_s": seconds, "gib_per_s": size / seconds} | memory)

    def refuse(self) -> Shown:
        """Says of the first tensor that it was sent with another checksum. The engine serves nothing afterwards."""
        self.bench.engines.sleep()
        try:
            self.bench.engines.publish(Damaged(self._routed(self.bench.fastest)), self.bench.version, PUBLISH_S)
        except EnginesLost as error:
            return Shown(numbers={}, holds="arrived with checksum" in str(error), must=f"a line with it, not {error}")
        return Shown(numbers={}, holds=False, must="a publish that raises")

    def _routed(self, way: Way) -> Learner:
        self.bench.learner.route = Route(way=way, folder=self.bench.folder / "weights")
        return self.bench.learner

    def agree(self) -> Shown:
        batch = self.bench.rows(4)
        logprobs = self.bench.learner.score(batch).logprobs
        assert logprobs is not None  # this learner takes its own
        ours = logprobs.reshape(self.bench.spec.rows, self.bench.spec.response)[:AGREEING_ROWS]
        calls = [
            self.bench.engines.remotes[0].submit("prompt_logprobs", batch.row(number).tolist())
            for number in range(AGREEING_ROWS)
        ]
        served = np.array(gather(calls))[:, -self.bench.spec.response :]
        between = np.abs(ours - served)
        numbers = {"mean_nats": float(between.mean()), "most_nats": float(between.max())}
        if self.agreed is None:  # the weights of the start, of which `exact` was computed
            engine, learner = (float(np.abs(values - self.exact).mean()) for values in (served, ours))
            self.agreed = numbers["mean_nats"]
            return Shown(
                numbers=numbers | {"engine_nats": engine, "learner_nats": learner},
                holds=engine <= AGREEMENT * learner + FLOAT32_NATS,
                must=f"the engine at most {AGREEMENT} times as far from float32 as the learner",
            )
        return Shown(
            numbers=numbers,
            holds=numbers["mean_nats"] <= AGREEMENT * self.agreed + FLOAT32_NATS,
            must=f"at most {AGREEMENT} times as far apart as before the update",
        )


class Damaged:
    """A sender whose first tensor seems to change on the way."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def buckets(self, version: int, timeout_s: float, ranks: Collection[int] = ()) -> Generator[Bucket]:
        with closing(self._sender.buckets(version, timeout_s, ranks)) as buckets:
            for bucket in buckets:
                first, *others = bucket.digests
                yield replace(bucket, digests=(first ^ 1, *others))

    def transmit(self, timeout_s: float) -> None:
        self._sender.transmit(timeout_s)
