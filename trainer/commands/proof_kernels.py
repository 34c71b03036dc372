"""The kernels that only a GPU runs, each against its slow twin: values, gradients, times."""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from trainer.learner.head import ChunkedLogprobs

LENGTHS = (900, 1100, 700, 1300)
HEADS, KV_HEADS, HEAD_SIZE = 12, 2, 128
TOKENS, WIDTH, VOCABULARY = 2048, 1536, 151_936
REPEATS = 5


def kernels() -> dict[str, float]:
    """Relative errors (…_error) and ratios of times (…_ratio) on GPU 0."""
    torch.manual_seed(0)
    return _head() | _attention()


def _head() -> dict[str, float]:
    """The chunked head in bfloat16 against the whole table of logits in float32."""
    device = torch.device("cuda")
    hidden = torch.randn(TOKENS, WIDTH, dtype=torch.bfloat16, device=device, requires_grad=True)
    weight = (torch.randn(VOCABULARY, WIDTH, device=device) * 0.02).to(torch.bfloat16).requires_grad_()
    targets = torch.randint(VOCABULARY, (TOKENS,), device=device)

    def chunked() -> Tensor:
        logprobs, entropy = ChunkedLogprobs.apply(hidden, weight, targets, 1.0)  # pyright: ignore
        return logprobs.sum() + 0.1 * entropy.sum()

    def of_table(logits: Tensor) -> Tensor:
        logp = logits.log_softmax(-1)
        entropy = -(logp.exp() * logp).sum(-1)
        return logp.gather(1, targets[:, None]).sum() + 0.1 * entropy.sum()

    def whole() -> Tensor:
        return of_table(hidden.float() @ weight.float().T)

    def rounded() -> Tensor:
        return of_table(F.linear(hidden, weight).float())

    base = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    value, *gradients = _with_gradients(chunked, hidden, weight)
    extra = torch.cuda.max_memory_allocated() - base
    exact, *exact_gradients = _with_gradients(whole, hidden, weight)
    errors = [_distance(ours, theirs) for ours, theirs in zip(gradients, exact_gradients, strict=True)]
    coarse = _with_gradients(rounded, hidden, weight)[0]
    return {
        "head_value_error": abs(float(value - exact)) / TOKENS,
        "head_value_bf16_nats": abs(float(coarse - exact)) / TOKENS,
        "head_hidden_gradient_error": errors[0],
        "head_weight_gradient_error": errors[1],
        "head_extra_gib": extra / 2**30,
        "head_time_ratio": _seconds(lambda: _with_gradients(chunked, hidden, weight))
        / _seconds(lambda: _with_gradients(rounded, hidden, weight)),
    }


def _attention() -> dict[str, float]:
    """Packed attention of sequences of several lengths against one call of SDPA for each."""
    device = torch.device("cuda")
    total = sum(LENGTHS)
    starts = torch.tensor([0, *LENGTHS], device=device).cumsum(0).int()
    query, key, value = (
        torch.randn(total, heads, HEAD_SIZE, dtype=torch.bfloat16, device=device, requires_grad=True)
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    )

    def packed() -> Tensor:
        longest = max(LENGTHS)
        attended = varlen_attn(
            query, key, value, starts, starts, longest, longest, window_size=(-1, 0), enable_gqa=True
        )
        assert isinstance(attended, Tensor)  # a pair only where more is asked for
        return attended

    def one_by_one() -> Tensor:
        outputs: list[Tensor] = []
        for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            q, k, v = (part[first:last].transpose(0, 1)[None] for part in (query, key, value))
            outputs.append(F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1))
        return torch.cat(outputs)

    def squared(attend: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return lambda: attend().float().square().sum()

    ours = [packed(), *_with_gradients(squared(packed), query, key, value)[1:]]
    theirs = [one_by_one(), *_with_gradients(squared(one_by_one), query, key, value)[1:]]
    names = ("value", "query_gradient", "key_gradient", "value_gradient")
    errors = {
        f"attention_{name}_error": _distance(mine, twin) for name, mine, twin in zip(names, ours, theirs, strict=True)
    }
    ratio = _seconds(lambda: _with_gradients(squared(packed), query, key, value)) / _seconds(
        lambda: _with_gradients(squared(one_by_one), query, key, value)
    )
    return errors | {"attention_time_ratio": ratio}


def _with_gradients(function: Callable[[], Tensor], *inputs: Tensor) -> list[Tensor]:
    value = function()
    return [value.detach(), *torch.autograd.grad(value, inputs)]


def _distance(ours: Tensor, theirs: Tensor) -> float:
    """|ours - theirs| / |theirs|, both as vectors."""
    return float((ours.float() - theirs.float()).norm() / theirs.float().norm())


def _seconds(function: Callable[[], object]) -> float:
    """Of one call, after one that warms up."""
    function()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(REPEATS):
        function()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / REPEATS
