"""The learner's packed pass against a pass for each sequence: values, gradients, tokens a second, share of the peak."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rollout.types import Device, Precision
from trainer.config.shape import ModelShape
from trainer.data.tokens import TokenBatch
from trainer.learner.load import load_model
from trainer.learner.packing import MicroBatch, collate, find_chains, pack_chains
from trainer.learner.policy import PolicyModule, PolicyOutput
from trainer.setup.mfu import PEAK_FLOPS

H100_FLOPS = PEAK_FLOPS["H100"]
"""Dense bfloat16 operations a second; an H200 has as many."""
COMPARED = 4
"""Sequences whose values and gradients are compared."""
FORWARDS = 4
"""Forward passes that one optimizer step is worth: forward, once more for the checkpoints, backward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSpec:
    """What goes through the model."""

    model: Path
    """Its Hugging Face folder."""
    shape: ModelShape
    """Its shape."""
    device: Device
    """Where it computes."""
    dtype: Precision
    """In which precision."""
    rows: int
    """Sequences, of mixed lengths."""
    prompt: int
    """Prompt tokens of the longest; the shortest has a quarter of them."""
    response: int
    """Response tokens of each."""
    token_budget: int = 16384
    """Cells of a micro-batch."""


def packed_pass(spec: PassSpec) -> dict[str, float]:
    """Mean differences in nats, relative errors, and seconds, tokens a second and MFU of the three ways.

    The ways: rows, one pass for each sequence; padded, sequences of like lengths together; packed.
    """
    torch.manual_seed(0)
    model = load_model(str(spec.model), getattr(torch, spec.dtype)).to(spec.device)  # pyright: ignore[reportArgumentType]
    batch = _batch(spec)
    few = batch.take(np.arange(min(COMPARED, spec.rows)))
    policy = PolicyModule(model, gradient_checkpointing=True).train()
    exact = _values(policy, few, _micros(few, spec, budget=1))
    spent = {
        "rows": _seconds(partial(_step, policy, _micros(batch, spec, budget=1)), spec.device),
        "padded": _seconds(partial(_step, policy, _micros(batch, spec)), spec.device),
    }
    policy = PolicyModule(model, gradient_checkpointing=True, packed=True).train()
    ours = _values(policy, few, _micros(few, spec, packed=True))
    spent["packed"] = _seconds(partial(_step, policy, _micros(batch, spec, packed=True)), spec.device)
    return _differences(ours, exact) | _speeds(spec, batch.row_lens.astype(float), spent)


def _batch(spec: PassSpec) -> TokenBatch:
    random = np.random.default_rng(4)
    prompt_lens = random.integers(spec.prompt // 4, spec.prompt + 1, spec.rows).astype(np.int32)
    response_lens = np.full(spec.rows, spec.response, np.int32)
    return TokenBatch(
        tokens=random.integers(3, spec.shape.vocabulary, int((prompt_lens + response_lens).sum()), dtype=np.int32),
        prompt_lens=prompt_lens,
        response_lens=response_lens,
        trajectory=np.arange(spec.rows, dtype=np.int64),
        time=np.zeros(spec.rows, np.int64),
    )


def _micros(batch: TokenBatch, spec: PassSpec, *, budget: int | None = None, packed: bool = False) -> list[MicroBatch]:
    budget = budget or spec.token_budget
    (rank,) = pack_chains(batch, find_chains(batch), token_budget=budget, world_size=1, packed=packed).ranks
    return [collate(batch, chains, packed=packed) for chains in rank]


def _forward(policy: PolicyModule, micro: MicroBatch) -> PolicyOutput:
    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(policy.model.device)

    return policy(
        tensor(micro.input_ids),
        tensor(micro.predict_at),
        tensor(micro.targets),
        layer=-2,
        embed_at=tensor(micro.prompt_end_at),
        bounds=None if micro.bounds is None else tensor(micro.bounds),
        longest=micro.longest,
    )


def _values(policy: PolicyModule, batch: TokenBatch, micros: Sequence[MicroBatch]) -> dict[str, Tensor]:
    """Log-probs and entropies by token, hidden states by row, and the gradient of the mean log-prob as one vector."""
    policy.zero_grad()
    kept: dict[str, list[Tensor]] = {"logprobs": [], "entropy": [], "hidden": []}
    for micro in micros:
        output = _forward(policy, micro)
        (output.logprobs.sum() / batch.num_response_tokens).backward()
        for name, parts in kept.items():
            parts.append(getattr(output, name).detach().float().cpu())
    tokens = torch.from_numpy(np.concatenate([micro.token_index for micro in micros])).argsort()
    rows = torch.from_numpy(np.concatenate([micro.rows for micro in micros])).argsort()
    ordered = {name: torch.cat(parts)[rows if name == "hidden" else tokens] for name, parts in kept.items()}
    gradients = [one.grad.flatten().cpu().float() for one in policy.parameters() if one.grad is not None]
    policy.zero_grad()
    return ordered | {"gradient": torch.cat(gradients)}


def _step(policy: PolicyModule, micros: Sequence[MicroBatch]) -> None:
    for micro in micros:
        _forward(policy, micro).logprobs.sum().backward()
    policy.zero_grad()


def _seconds(step: partial[None], device: Device) -> float:
    """Of one call, after one that warms up."""
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    return seconds


def _differences(ours: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> dict[str, float]:
    nats = {f"{name}_nats": float((ours[name] - exact[name]).abs().mean()) for name in ("logprobs", "entropy")}
    return nats | {
        f"{name}_error": float((ours[name] - exact[name]).norm() / exact[name].norm())
        for name in ("hidden", "gradient")
    }


def _speeds(spec: PassSpec, lengths: np.ndarray, spent: Mapping[str, float]) -> dict[str, float]:
    """Tokens a second of each way and, on a GPU, the share of its peak.

    lengths: tokens of each sequence. A causal cell sees half of its sequence on average.
    """
    shape, tokens = spec.shape, float(lengths.sum())
    body = shape.parameters - shape.hidden * shape.vocabulary * (1 if shape.tied else 2)
    attention = 2 * shape.layers * shape.heads * shape.head_size * float((lengths**2).sum())
    flops = FORWARDS * (2 * body * tokens + attention)
    numbers = {f"{way}_tokens_per_s": tokens / seconds for way, seconds in spent.items()}
    if spec.device == "cuda":
        numbers |= {f"{way}_mfu": flops / seconds / H100_FLOPS for way, seconds in spent.items()}
    return numbers | {
        "time_vs_rows": spent["packed"] / spent["rows"],
        "time_vs_padded": spent["packed"] / spent["padded"],
    }
