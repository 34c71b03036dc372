"""That a learner fits beside an engine, scores and learns in the memory and at the speed that are planned."""

import time
from functools import partial

import numpy as np

from trainer.commands.proof_bench import Bench, Shown, in_a_process
from trainer.commands.proof_packing import H100_FLOPS, PassSpec, packed_pass
from trainer.data.tokens import Targets
from trainer.learner.reports import Scores
from trainer.setup import gpu_memory
from trainer.setup.gpu_memory import GIB

PASS_LIMIT = 0.1
"""Relative error of a gradient, or of hidden states, that a whole pass in bfloat16 may cost."""
LOGPROB_LIMIT = 0.04
"""Mean difference in nats that it may cost: between engine and learner 0.024 were seen on an H100."""


class LearnerProof:
    """The parts that a learner passes alone."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.scores: Scores

    def start(self) -> Shown:
        before = self.bench.memory.used_gib()
        self.bench.learner.join(layer=-1, timeout_s=600)
        return self.bench.held(gpu_memory.learner_idle(self.bench.spec.shape, self.bench.training), before)

    def score(self) -> Shown:
        self.bench.engines.sleep()
        batch = self.bench.rows(2)
        self.bench.learner.score(batch)  # the first call plans kernels
        began = time.perf_counter()
        self.scores = self.bench.learner.score(batch, layer=-1)
        return Shown(numbers=self._speed(2, time.perf_counter() - began))  # the policy's pass and the reference's

    def learn(self) -> Shown:
        batch = self.bench.rows(2)
        assert self.scores.logprobs is not None  # this learner takes its own
        targets = Targets(
            advantage=np.random.default_rng(3).standard_normal(self.bench.spec.rows).astype(np.float32),
            row_mask=np.ones(self.bench.spec.rows, np.bool_),
            old_logprobs=self.scores.logprobs,
            ref_logprobs=self.scores.ref_logprobs,
        )
        with self.bench.memory.watched() as peak:
            first = self.bench.learner.learn(batch, targets, seed=0)  # which makes the optimizer's states
            began = time.perf_counter()
            report = self.bench.learner.learn(batch, targets, seed=0)
            seconds = time.perf_counter() - began
        asleep = gpu_memory.ASLEEP_BYTES if self.bench.spec.device == "cuda" else 0
        predicted = (gpu_memory.learner_peak(self.bench.spec.shape, self.bench.training) + asleep) / GIB
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
            model=self.bench.model,
            shape=self.bench.spec.shape,
            device=self.bench.spec.device,
            dtype=self.bench.spec.dtype,
            rows=self.bench.spec.rows,
            prompt=self.bench.spec.prompt,
            response=self.bench.spec.response,
            token_budget=self.bench.training.token_budget,
        )
        numbers = in_a_process(partial(packed_pass, spec))
        return Shown(
            numbers=numbers,
            holds=max(numbers["logprobs_nats"], numbers["entropy_nats"]) < LOGPROB_LIMIT
            and max(numbers["hidden_error"], numbers["gradient_error"]) < PASS_LIMIT,
            must=f"below {LOGPROB_LIMIT} nats, and errors below {PASS_LIMIT}",
        )

    def _speed(self, passes: int, seconds: float) -> dict[str, float]:
        """Seconds, tokens a second and, on a GPU, the share of its peak.

        passes: forward passes that the work is worth.
        """
        tokens, shape = (
            self.bench.spec.rows * (self.bench.spec.prompt + self.bench.spec.response),
            self.bench.spec.shape,
        )
        attention = 2 * (self.bench.spec.prompt + self.bench.spec.response) * shape.hidden * shape.layers
        flops = tokens * passes * (2 * (shape.parameters - shape.hidden * shape.vocabulary) + attention)
        speed = {"seconds": seconds, "tokens_per_s": tokens / seconds}
        return speed | ({"mfu": flops / seconds / H100_FLOPS} if self.bench.spec.device == "cuda" else {})
