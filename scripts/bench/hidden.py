"""What hidden states cost a scoring pass: taken on the way through the body, and by a forward pass of their own.

`python -m scripts.bench.hidden [--quick] [--device cuda]`: a Qwen2 of random weights scores a micro-batch with and
without the state of one layer at each row's last prompt cell. Each pair of calls, in alternating order, gives a ratio.
`share` is the added time over the time without, by the median ratio; `share_low` to `share_high` is its 95 % interval.
`share_separate_forward` is the share of a second forward pass that keeps all layers. The last line is JSON.
"""

from collections.abc import Callable, Mapping
from time import perf_counter

import numpy as np
import torch
from scipy.stats import quantile_test
from torch import Tensor

from scripts.bench.command_line import add_device, parser, report
from trainer.config.shape import ModelShape
from trainer.learner.policy import PolicyModule
from trainer.setup.models import random_qwen2

ROWS, LENGTH, RESPONSE = 8, 512, 64
SHAPE = ModelShape(hidden=576, layers=12, heads=9, kv_heads=3, mlp=2304, vocabulary=8192, tied=True, qkv_bias=True)
LAYER = -3
QUICK_ROWS, QUICK_LENGTH = 2, 96
PAIRS, QUICK_PAIRS = 24, 6  # six are the fewest whose median has a 95 % interval
SEPARATE_PAIRS = 4


def policy(device: str) -> PolicyModule:
    """A policy with random weights."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    return PolicyModule(random_qwen2(SHAPE, context=LENGTH)).to(device, dtype).eval()


def ways(module: PolicyModule, rows: int, length: int, device: str) -> Mapping[str, Callable[[], object]]:
    """The scoring pass without hidden states, with them, and with a forward pass of their own."""
    ids = torch.randint(SHAPE.vocabulary, (rows, length), device=device)
    ends = torch.arange(rows, device=device) * length + length - RESPONSE - 1  # each row's last prompt cell
    cells = (ends[:, None] + torch.arange(RESPONSE, device=device)).flatten()
    targets = ids.flatten()[cells + 1]

    def separate() -> tuple[object, Tensor]:
        states = module.body(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
        return module(ids, cells, targets), states[LAYER].flatten(0, 1).index_select(0, ends)

    return {
        "without": lambda: module(ids, cells, targets),
        "with": lambda: module(ids, cells, targets, layer=LAYER, embed_at=ends),
        "separate": separate,
    }


def ratios(base: Callable[[], object], other: Callable[[], object], pairs: int, device: str) -> list[float]:
    """Seconds of `other` over those of `base` in each pair of calls; every second pair begins with `other`."""
    for way in (base, other):  # the first calls find cold caches
        seconds(way, device)
    by_pair = []
    for pair in range(pairs):
        in_order = (base, other) if pair % 2 == 0 else (other, base)
        spent = {way: seconds(way, device) for way in in_order}
        by_pair.append(spent[other] / spent[base])
    return by_pair


def seconds(way: Callable[[], object], device: str) -> float:
    """Seconds of one call."""
    start_s = perf_counter()
    way()
    if device == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start_s


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    add_device(command)
    args = command.parse_args()
    torch.manual_seed(0)
    size = (QUICK_ROWS, QUICK_LENGTH) if args.quick else (ROWS, LENGTH)
    measured = ways(policy(args.device), *size, args.device)
    kept = ratios(measured["without"], measured["with"], QUICK_PAIRS if args.quick else PAIRS, args.device)
    separate = ratios(measured["without"], measured["separate"], 1 if args.quick else SEPARATE_PAIRS, args.device)
    bounds = quantile_test(kept, q=1, p=0.5).confidence_interval(0.95)
    numbers = {
        "share": np.median(kept),
        "share_low": bounds.low,
        "share_high": bounds.high,
        "share_separate_forward": np.median(separate),
    }
    report({name: round(float(ratio) - 1, 4) for name, ratio in numbers.items()})


if __name__ == "__main__":
    main()
