"""Log-probs of T tokens at a vocabulary of V words: the whole table, log-sum-exp of the whole table, in chunks.

`python -m scripts.bench.logprob [--quick] [--device cuda]`: T = 2,048 and V = 151,936, forward only, in bfloat16 on
CUDA and float32 on a CPU. full: log-softmax of all logits. selective: logits at the targets less a log-sum-exp.
chunked: the learner's head. Memory is what lives beside hidden states and matrix at most. tokens_ratio: cells of the
learner's micro-batches per real token of 1,024 rows of mixed lengths. The last line is JSON.
"""

import itertools
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from scripts.bench.command_line import add_device, parser, report
from trainer.data.tokens import TokenBatch
from trainer.learner.head import ChunkedLogprobs
from trainer.learner.packing import find_chains, pack_chains

TOKENS, QUICK_TOKENS = 2048, 64
VOCABULARY = 151_936
WIDTH = 896
ROWS, PROMPT, RESPONSE = 1024, 500, 100  # of the rows whose padding is counted; the lengths are medians
BUDGET = 16384  # cells of a micro-batch
MEGABYTE = 1e6
Inputs = tuple[Tensor, Tensor, Tensor]
Way = Callable[[Tensor, Tensor, Tensor], Tensor]


def full(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """log-softmax of the whole table, then the targets' entries. [T]"""
    return (hidden @ weight.T).float().log_softmax(-1).gather(1, targets[:, None])[:, 0]


def selective(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The targets' logits less the log-normaliser of each row: no second table. [T]"""
    logits = (hidden @ weight.T).float()
    return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)


def chunked(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The learner's own way, which also yields the entropies. [T]"""
    logprobs, _ = ChunkedLogprobs.apply(hidden, weight, targets, 1.0)  # pyright: ignore[reportGeneralTypeIssues]
    return logprobs


def inputs(tokens: int, device: str) -> Inputs:
    """(hidden states [T, D], matrix [V, D], targets [T])."""
    generator = torch.Generator().manual_seed(0)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    hidden = torch.randn(tokens, WIDTH, generator=generator).to(device, dtype)
    weight = (0.02 * torch.randn(VOCABULARY, WIDTH, generator=generator)).to(device, dtype)
    return hidden, weight, torch.randint(VOCABULARY, (tokens,), generator=generator).to(device)


def extra_mb(way: Way, values: Inputs) -> float:
    """The most megabytes alive at one time in `way`, its inputs aside."""
    if values[0].is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        way(*values)
        return (torch.cuda.max_memory_allocated() - before) / MEGABYTE
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        way(*values)
    kineto: Any = recorded.profiler  # torch's stubs lack the events' bytes
    events = [event for event in kineto.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]  # frees are negative
    return max(itertools.accumulate(changes)) / MEGABYTE


def seconds(way: Way, values: Inputs, times: int) -> float:
    """Seconds of the fastest of `times` calls."""
    fastest = float("inf")
    for _ in range(times):
        start_s = perf_counter()
        way(*values)
        if values[0].is_cuda:
            torch.cuda.synchronize()
        fastest = min(fastest, perf_counter() - start_s)
    return fastest


def tokens_ratio(*, packed: bool) -> float:
    """Cells that go through the model per real token, for rows of mixed lengths."""
    random = np.random.default_rng(0)
    prompts, responses = (
        random.lognormal(np.log(median), 0.5, ROWS).astype(np.int32) + 1 for median in (PROMPT, RESPONSE)
    )
    batch = TokenBatch(
        tokens=np.zeros(int((prompts + responses).sum()), np.int32),
        prompt_lens=prompts,
        response_lens=responses,
        trajectory=np.arange(ROWS, dtype=np.int64),
        time=np.zeros(ROWS, np.int64),
    )
    packing = pack_chains(batch, find_chains(batch), token_budget=BUDGET, world_size=1, packed=packed)
    return packing.padded_tokens / packing.real_tokens


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    add_device(command)
    args = command.parse_args()
    values = inputs(QUICK_TOKENS if args.quick else TOKENS, args.device)
    ways: dict[str, Way] = {"full": full, "selective": selective, "chunked": chunked}
    spent, memory = {}, {}
    for name, way in ways.items():
        memory[name] = extra_mb(way, values)
        spent[name] = seconds(way, values, 1 if args.quick else 3)
        print(f"{name:10} {spent[name]:8.3f} s {memory[name]:10.1f} MB")
    tokens = len(values[0])
    report(
        {f"extra_mb_{name}": round(size, 1) for name, size in memory.items()}
        | {
            "time_vs_full": round(spent["chunked"] / spent["full"], 3),
            "time_vs_selective": round(spent["chunked"] / spent["selective"], 3),
            "tokens_ratio": round(tokens_ratio(packed=False), 3),
            "tokens_ratio_packed": round(tokens_ratio(packed=True), 3),
            "tokens_per_s": round(tokens / spent["chunked"], 1),
        }
    )


if __name__ == "__main__":
    main()
