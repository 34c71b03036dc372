"""That an engine starts beside a learner in the memory that is planned, samples what it is asked for, and sleeps."""

import time

from rollout.engines import EngineConfig, Engines
from rollout.messages import Answer, Request
from rollout.ray_actors import gather
from trainer.commands.proof_bench import Bench, Shown
from trainer.config.learner import LearnerConfig, LossConfig
from trainer.learner.driver import Learner
from trainer.setup import gpu_memory
from trainer.setup.gpu_memory import GIB
from trainer.setup.packing import with_packing


class EngineProof:
    """The parts that an engine passes alone."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def start(self) -> Shown:
        on_gpu = self.bench.spec.device == "cuda"
        config = LearnerConfig(
            device=self.bench.spec.device,
            dtype=self.bench.spec.dtype,
            threads=8 if on_gpu else 2,
            learning_rate=1e-4,
            optimizer_steps=1,
            zero_stage=self.bench.training.zero_stage,
            token_budget=self.bench.training.token_budget,
            gradient_checkpointing=self.bench.training.checkpointing,
            loss=LossConfig(kl_coef=0.01),
        )
        self.bench.learner = Learner.reserve(
            with_packing(config, str(self.bench.model)), self.bench.model, timeout_s=120
        )
        cache = gpu_memory.kv_cache_bytes(
            self.bench.spec.shape, requests=self.bench.spec.requests, context=self.bench.spec.context
        )
        engine = EngineConfig(
            device=self.bench.spec.device,
            dtype=self.bench.spec.dtype,
            sleep=on_gpu,
            threads=config.threads,
            kv_cache_bytes=cache,
            restarts=0,  # a damaged publish would start a second engine, which takes as long as all the rest
        )
        self.bench.engines = Engines(
            self.bench.model, engine, context=self.bench.spec.context, places=self.bench.learner.places
        )
        self.bench.engines.wait_ready(600)
        predicted = gpu_memory.engine_awake(
            self.bench.spec.shape, gpu_memory.Serving(tensor_parallel=1, kv_cache_bytes=cache)
        )
        return self.bench.held(predicted)

    def sample(self) -> Shown:
        prompts = [
            self.bench.rows(1).prompt(number % self.bench.spec.rows).tolist()
            for number in range(self.bench.spec.requests)
        ]
        self._complete("warm", prompts[:4])
        began = time.perf_counter()
        first = self._complete("first", prompts)
        seconds = time.perf_counter() - began
        second = self._complete("second", prompts)
        alike = sum(one.token_ids == other.token_ids for one, other in zip(first, second, strict=True))
        tokens = sum(len(answer.token_ids) for answer in first)
        return Shown(
            numbers={"sampled_tokens_per_s": tokens / seconds, "alike_share": alike / self.bench.spec.requests},
            holds=tokens == self.bench.spec.requests * self.bench.spec.sampled,
            must="every response has its length",
        )

    def sleep(self) -> Shown:
        before, began = self.bench.memory.used_gib(), time.perf_counter()
        self.bench.engines.sleep()
        seconds, asleep_gib = time.perf_counter() - began, self.bench.memory.used_gib()
        return Shown(
            numbers={"before_gib": before, "asleep_gib": asleep_gib, "sleep_s": seconds},
            holds=asleep_gib <= gpu_memory.ASLEEP_BYTES / GIB,
            must=f"at most {gpu_memory.ASLEEP_BYTES / GIB:.1f} GiB stay",
        )

    def _complete(self, name: str, prompts: list[list[int]]) -> list[Answer]:
        engine = self.bench.engines.remotes[0]
        requests = [
            Request(f"{name}-{number}", prompt, 1.0, 1.0, self.bench.spec.sampled, number, ())
            for number, prompt in enumerate(prompts)
        ]
        return gather([engine.submit("complete", request) for request in requests])
