"""The proof that a GPU runs all of this: an engine and a learner side by side on one card, and whole updates.

The parts run in order, each prints one line at once, and one that fails does not end the rest. On a CPU the
parts that need no GPU run with a tiny model.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rollout.engines import EngineConfig, Engines
from rollout.messages import Answer, Request
from rollout.ray_actors import gather
from rollout.seats import EnginesLost
from rollout.transfer import Bucket, Route, Sender, Way
from rollout.types import Device, Precision
from trainer.commands.proof_kernels import kernels
from trainer.commands.proof_model import exact_logprobs, write_model
from trainer.commands.proof_packing import H100_FLOPS, PassSpec, packed_pass
from trainer.config.learner import LearnerConfig, LossConfig
from trainer.config.shape import ModelShape
from trainer.data.tokens import Targets, TokenBatch
from trainer.learner.driver import Learner, Scores
from trainer.report.metric_log import read_metrics
from trainer.report.progress import Display
from trainer.setup import gpu_memory
from trainer.setup.exchange import BYTES
from trainer.setup.gpu_memory import GIB, Training
from trainer.setup.gpu_watch import GpuMemory
from trainer.setup.packing import with_packing

LONGEST_FAILURE = 400
PUBLISH_S = 120.0
Result = TypeVar("Result")
ERROR_LIMIT = 0.02
"""The largest relative error of a kernel that computes in bfloat16."""
PASS_LIMIT = 0.1
"""Relative error of a gradient, or of hidden states, that a whole pass in bfloat16 may cost."""
LOGPROB_LIMIT = 0.04
"""Mean difference in nats that it may cost: between engine and learner 0.024 were seen on an H100."""
AGREEING_ROWS = 8
"""Rows whose log-probs the engine, the learner and float32 are compared on."""
FLOAT32_NATS = 1e-5
"""What two float32 passes may differ by."""
AGREEMENT = 1.5
"""How much farther than the learner the engine may be from float32: both round to bfloat16, each in its own order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofSpec:
    """The size of a proof."""

    device: Device
    """Where it runs."""
    shape: ModelShape
    """The model, with random weights."""
    rows: int = 64
    """Rows of the learner's batch."""
    prompt: int = 900
    """Prompt tokens of a row."""
    response: int = 100
    """Response tokens of a row."""
    requests: int = 64
    """Requests that the engine answers at once."""
    sampled: int = 150
    """Tokens that it samples for each."""

    @property
    def dtype(self) -> Precision:
        return "bfloat16" if self.device == "cuda" else "float32"

    @property
    def context(self) -> int:
        """The longest sequence that the engine sees, and one token more, which it samples after a text it scores."""
        return self.prompt + max(self.response, self.sampled) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a part shows."""

    numbers: Mapping[str, float]
    """Its figures by name, with the unit at the end of the name."""
    holds: bool = True
    """Whether what must hold does."""
    must: str = ""
    """What must hold, in words; empty where the part only measures."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a proof."""

    name: str
    """What its line calls it."""
    run: Callable[[], Shown]
    """Does it."""
    needs: tuple[str, ...] = ()
    """What earlier parts must have given; else it is not run."""
    gives: str | None = None
    """What later parts may need."""
    publishes: bool = False
    """Whether it belongs to the check of publishes alone."""


class Proof:
    """What the parts share: a folder, a model, an engine, a learner, the policy's version."""

    def __init__(self, spec: ProofSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.model = folder / "model"
        self.version = 0
        self.exact: np.ndarray
        self.agreed: float | None = None
        self.memory = GpuMemory(spec.device)
        self.training = Training(ranks=1, zero_stage=1, token_budget=16384, checkpointing=True, reference=True)
        self.fastest: Way = "ipc" if spec.device == "cuda" else "shm"
        self.engines: Engines
        self.learner: Learner
        self.scores: Scores

    def parts(self) -> Iterator[Part]:
        """The parts in order."""
        model, engine, learner, scores = "model", "engine", "learner", "scores"
        yield Part("model with random weights", self.make_model, gives=model, publishes=True)
        yield Part("engine starts", self.start_engine, needs=(model,), gives=engine, publishes=True)
        yield Part("engine samples", self.sample, needs=(engine,))
        yield Part("engine sleeps", self.sleep, needs=(engine,), publishes=True)
        yield Part("learner starts beside it", self.start_learner, needs=(engine,), gives=learner, publishes=True)
        for way in ("file", "shm", self.fastest):
            name = f"engine takes weights by {way}"
            yield Part(name, partial(self.publish, way), needs=(learner,), publishes=True)
            yield Part(f"engine and learner agree, {way}", self.agree, needs=(learner,), publishes=True)
        yield Part("learner scores", self.score, needs=(learner,), gives=scores)
        yield Part("learner learns", self.learn, needs=(scores,))
        yield Part("engine takes new weights", partial(self.publish, self.fastest), needs=(scores,))
        yield Part("engine and learner agree again", self.agree, needs=(scores,))
        yield Part("engine samples again", self.sample, needs=(scores,))
        yield Part("engine refuses damaged weights", self.refuse, needs=(learner,), publishes=True)
        self.close()  # the rest needs the GPU for itself
        yield Part("packed pass equals rows", self.pack, needs=(model,))
        if self.spec.device == "cuda":
            yield Part("kernels equal their slow twins", _kernels)
            for name, words in _updates(self.model):
                yield Part(name, partial(_update, words, self.folder), needs=(model,))

    def make_model(self) -> Shown:
        _in_a_process(partial(write_model, self.spec.shape, self.model, self.spec.device))
        batch = self._rows(4)
        rows = np.stack([batch.row(number) for number in range(AGREEING_ROWS)])
        self.exact = _in_a_process(partial(exact_logprobs, self.model, rows, self.spec.response, self.spec.device))
        size = sum(file.stat().st_size for file in self.model.iterdir())
        return Shown(numbers={"parameters": self.spec.shape.parameters, "gib": size / GIB})

    def start_engine(self) -> Shown:
        on_gpu = self.spec.device == "cuda"
        config = LearnerConfig(
            device=self.spec.device,
            dtype=self.spec.dtype,
            threads=8 if on_gpu else 2,
            learning_rate=1e-4,
            optimizer_steps=1,
            zero_stage=self.training.zero_stage,
            token_budget=self.training.token_budget,
            gradient_checkpointing=self.training.checkpointing,
            loss=LossConfig(kl_coef=0.01),
        )
        self.learner = Learner.reserve(with_packing(config, str(self.model)), self.model, timeout_s=120)
        cache = gpu_memory.kv_cache_bytes(self.spec.shape, requests=self.spec.requests, context=self.spec.context)
        engine = EngineConfig(
            device=self.spec.device,
            dtype=self.spec.dtype,
            sleep=on_gpu,
            threads=config.threads,
            kv_cache_bytes=cache,
            restarts=0,  # a damaged publish would start a second engine, which takes as long as all the rest
        )
        self.engines = Engines(self.model, engine, context=self.spec.context, places=self.learner.places)
        self.engines.wait_ready(600)
        predicted = gpu_memory.engine_awake(
            self.spec.shape, gpu_memory.Serving(tensor_parallel=1, kv_cache_bytes=cache)
        )
        return self._held(predicted)

    def sample(self) -> Shown:
        prompts = [self._rows(1).prompt(number % self.spec.rows).tolist() for number in range(self.spec.requests)]
        self._complete("warm", prompts[:4])
        began = time.perf_counter()
        first = self._complete("first", prompts)
        seconds = time.perf_counter() - began
        second = self._complete("second", prompts)
        alike = sum(one.token_ids == other.token_ids for one, other in zip(first, second, strict=True))
        tokens = sum(len(answer.token_ids) for answer in first)
        return Shown(
            numbers={"sampled_tokens_per_s": tokens / seconds, "alike_share": alike / self.spec.requests},
            holds=tokens == self.spec.requests * self.spec.sampled,
            must="every response has its length",
        )

    def sleep(self) -> Shown:
        before, began = self.memory.used_gib(), time.perf_counter()
        self.engines.sleep()
        seconds, left = time.perf_counter() - began, self.memory.used_gib()
        return Shown(
            numbers={"before_gib": before, "asleep_gib": left, "sleep_s": seconds},
            holds=left <= gpu_memory.ASLEEP_BYTES / GIB,
            must=f"at most {gpu_memory.ASLEEP_BYTES / GIB:.1f} GiB stay",
        )

    def start_learner(self) -> Shown:
        before = self.memory.used_gib()
        self.learner.join(layer=-1, timeout_s=600)
        return self._held(gpu_memory.learner_idle(self.spec.shape, self.training), before)

    def publish(self, way: Way) -> Shown:
        """The engine, whose own weights go as it sleeps, compares what it then holds with the learner's checksums."""
        self.engines.sleep()
        with self.memory.watched() as peak:
            before, began = self.memory.used_gib(), time.perf_counter()
            self.engines.publish(self._routed(way), self.version, PUBLISH_S)
            seconds = time.perf_counter() - began
        self.version += 1
        size = self.spec.shape.parameters * BYTES[self.spec.dtype] / GIB
        memory = {"before_gib": before, "peak_gib": peak.gib, "used_gib": self.memory.used_gib()}
        return Shown(numbers={"weights_gib": size, "publish_s": seconds, "gib_per_s": size / seconds} | memory)

    def refuse(self) -> Shown:
        """Says of the first tensor that it was sent with another checksum. The engine serves nothing afterwards."""
        self.engines.sleep()
        try:
            self.engines.publish(Damaged(self._routed(self.fastest)), self.version, PUBLISH_S)
        except EnginesLost as error:
            return Shown(numbers={}, holds="arrived with checksum" in str(error), must=f"a line with it, not {error}")
        return Shown(numbers={}, holds=False, must="a publish that raises")

    def _routed(self, way: Way) -> Learner:
        self.learner.route = Route(way=way, folder=self.folder / "weights")
        return self.learner

    def agree(self) -> Shown:
        batch = self._rows(4)
        logprobs = self.learner.score(batch).logprobs
        assert logprobs is not None  # this learner takes its own
        ours = logprobs.reshape(self.spec.rows, self.spec.response)[:AGREEING_ROWS]
        calls = [
            self.engines.remotes[0].submit("prompt_logprobs", batch.row(number).tolist())
            for number in range(AGREEING_ROWS)
        ]
        served = np.array(gather(calls))[:, -self.spec.response :]
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

    def score(self) -> Shown:
        self.engines.sleep()
        batch = self._rows(2)
        self.learner.score(batch)  # the first call plans kernels
        began = time.perf_counter()
        self.scores = self.learner.score(batch, layer=-1)
        return Shown(numbers=self._speed(2, time.perf_counter() - began))  # the policy's pass and the reference's

    def learn(self) -> Shown:
        batch = self._rows(2)
        assert self.scores.logprobs is not None  # this learner takes its own
        targets = Targets(
            advantage=np.random.default_rng(3).standard_normal(self.spec.rows).astype(np.float32),
            row_mask=np.ones(self.spec.rows, np.bool_),
            old_logprobs=self.scores.logprobs,
            ref_logprobs=self.scores.ref_logprobs,
        )
        with self.memory.watched() as peak:
            first = self.learner.learn(batch, targets, seed=0)  # which makes the optimizer's states
            began = time.perf_counter()
            report = self.learner.learn(batch, targets, seed=0)
            seconds = time.perf_counter() - began
        asleep = gpu_memory.ASLEEP_BYTES if self.spec.device == "cuda" else 0
        predicted = (gpu_memory.learner_peak(self.spec.shape, self.training) + asleep) / GIB
        return Shown(
            numbers={
                **self._speed(4, seconds),  # forward, once more for the checkpoints, backward
                "first_ratio_error": first.first_ratio_error,
                "grad_norm": report.grad_norm,
                "peak_gib": peak.gib,
                "predicted_gib": predicted,
            },
            holds=bool(np.isfinite(report.grad_norm)) and peak.gib <= 1.1 * predicted,
            must="at most 10 % above the plan",
        )

    def pack(self) -> Shown:
        spec = PassSpec(
            model=self.model,
            shape=self.spec.shape,
            device=self.spec.device,
            dtype=self.spec.dtype,
            rows=self.spec.rows,
            prompt=self.spec.prompt,
            response=self.spec.response,
            token_budget=self.training.token_budget,
        )
        numbers = _in_a_process(partial(packed_pass, spec))
        return Shown(
            numbers=numbers,
            holds=max(numbers["logprobs_nats"], numbers["entropy_nats"]) < LOGPROB_LIMIT
            and max(numbers["hidden_error"], numbers["gradient_error"]) < PASS_LIMIT,
            must=f"below {LOGPROB_LIMIT} nats, and errors below {PASS_LIMIT}",
        )

    def close(self) -> None:
        """End the engine and the learner, whichever was started."""
        for name in ("engines", "learner"):
            if part := self.__dict__.pop(name, None):
                part.close()

    def _held(self, predicted: int, before: float = 0.0) -> Shown:
        used = self.memory.used_gib()
        return Shown(
            numbers={"used_gib": used - before, "predicted_gib": predicted / GIB},
            holds=used - before <= 1.1 * predicted / GIB,
            must="at most 10 % above the plan",
        )

    def _complete(self, name: str, prompts: list[list[int]]) -> list[Answer]:
        engine = self.engines.remotes[0]
        requests = [
            Request(f"{name}-{number}", prompt, 1.0, 1.0, self.spec.sampled, number, ())
            for number, prompt in enumerate(prompts)
        ]
        return gather([engine.submit("complete", request) for request in requests])

    def _rows(self, seed: int) -> TokenBatch:
        rows, length = self.spec.rows, self.spec.prompt + self.spec.response
        high = min(40_000, self.spec.shape.vocabulary)
        return TokenBatch(
            tokens=np.random.default_rng(seed).integers(10, high, rows * length, dtype=np.int32),
            prompt_lens=np.full(rows, self.spec.prompt, np.int32),
            response_lens=np.full(rows, self.spec.response, np.int32),
            trajectory=np.arange(rows, dtype=np.int64),
            time=np.zeros(rows, np.int64),
        )

    def _speed(self, passes: int, seconds: float) -> dict[str, float]:
        """passes: forward passes that the work is worth."""
        tokens, shape = self.spec.rows * (self.spec.prompt + self.spec.response), self.spec.shape
        attention = 2 * (self.spec.prompt + self.spec.response) * shape.hidden * shape.layers
        flops = tokens * passes * (2 * (shape.parameters - shape.hidden * shape.vocabulary) + attention)
        speed = {"seconds": seconds, "tokens_per_s": tokens / seconds}
        return speed | ({"mfu": flops / seconds / H100_FLOPS} if self.spec.device == "cuda" else {})


class Damaged:
    """A sender whose first tensor seems to change on the way."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def buckets(self, version: int, timeout_s: float) -> Generator[Bucket]:
        with closing(self._sender.buckets(version, timeout_s)) as buckets:
            for bucket in buckets:
                first, *others = bucket.digests
                yield replace(bucket, digests=(first ^ 1, *others))

    def transmit(self, timeout_s: float) -> None:
        self._sender.transmit(timeout_s)


def prove(spec: ProofSpec, folder: Path, display: Display, report: Path, *, publish_only: bool = False) -> bool:
    """Run the parts, print a line for each, and write them to `report` as JSON lines. Returns whether all hold.

    publish_only: run those parts only that a check of publishes consists of.
    """
    proof, given, holding = Proof(spec, folder), set[str](), True
    try:
        for part in proof.parts():
            if publish_only and not part.publishes:
                continue
            began = time.perf_counter()
            try:
                if lacking := [need for need in part.needs if need not in given]:
                    raise LookupError(f"it needs the {lacking[0]}, which an earlier part did not give")
                with display.doing(part.name):
                    shown, failure = part.run(), None
            except Exception as error:  # noqa: BLE001  one part that fails does not end the rest
                shown = Shown(numbers={}, holds=False)
                failure = f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST_FAILURE]}"
            if failure is None and part.gives is not None:
                given.add(part.gives)
            holding &= shown.holds
            _tell(part, shown, failure, time.perf_counter() - began, display, report)
    finally:
        proof.close()
    return holding


def _tell(part: Part, shown: Shown, failure: str | None, seconds: float, display: Display, report: Path) -> None:
    """One line for the reader and one for the report."""
    verdict = "ok" if shown.holds else f"FAILED {failure or shown.must}"
    figures = "  ".join(f"{key} {value:.4g}" for key, value in shown.numbers.items())
    display.line(f"{part.name:<32}{seconds:6.1f} s  {verdict}  {figures}")
    entry = {"part": part.name, "seconds": seconds, "holds": shown.holds, "must": shown.must, "failure": failure}
    with report.open("a") as file:
        file.write(json.dumps(entry | {"numbers": dict(shown.numbers)}) + "\n")


def _kernels() -> Shown:
    numbers = _in_a_process(kernels)
    errors = [value for name, value in numbers.items() if name.endswith("_error")]
    return Shown(numbers=numbers, holds=max(errors) < ERROR_LIMIT, must=f"errors below {ERROR_LIMIT}")


def _in_a_process(function: Callable[[], Result]) -> Result:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # whose GPU memory ends with it
        return pool.submit(function).result()


def _updates(model: Path) -> Iterator[tuple[str, list[str]]]:
    """Whole updates of `stepcredit train` on one GPU, by name."""
    short = ["groups_per_update=4", "group_size=4", "updates=2", "validation.tasks=8", "learner.optimizer_steps=1"]
    yield "updates of SmolLM2-135M", ["cluster=gpu1", "model=smollm2_135m", "estimator=gigpo", *short]
    random = [f"model.source={model}", "model.prompt_tokens=1536", "model.response_tokens=64"]
    yield "updates of the large policy", ["cluster=gpu1", "model=qwen2.5_1.5b", "estimator=bipace", *random, *short]


def _update(words: list[str], folder: Path) -> Shown:
    output = folder / f"run-{time.time_ns()}"
    code = "from trainer.commands.main import main; main()"
    command = [sys.executable, "-c", code, "train", *words, f"output={output}"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    if finished.returncode != 0:
        raise RuntimeError(f"exit code {finished.returncode}: {(finished.stderr or finished.stdout)[-350:]}")
    last: dict[str, Any] = list(read_metrics(output))[-1]
    kept = ("learn/engine_mismatch", "learn/first_ratio_error", "learn/kl", "rollout/success")
    times = {name: value for name, value in last.items() if name.startswith(("seconds/", "speed/"))}
    return Shown(numbers={name: float(last[name]) for name in kept if last.get(name) is not None} | times)
