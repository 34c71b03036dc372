"""What hidden states cost a scoring pass: taken on the way through the body, and by a forward pass of their own.

`python -m scripts.bench.hidden [--quick] [--device cuda]`: a Qwen2 of random weights scores a micro-batch with and
without the state of one layer at each row's last prompt cell, in turns. `share` is the added time over the time
without; `share_separate_forward` is that of a second forward pass that keeps all layers. The last line is JSON.
"""

from collections.abc import Callable, Mapping
from time import perf_counter

import torch
from torch import Tensor

from scripts.bench.command_line import add_device, parser, report
from trainer.config.shape import ModelShape
from trainer.learner.policy import PolicyModule
from trainer.setup.models import random_qwen2

ROWS, LENGTH, RESPONSE = 8, 512, 64
SHAPE = ModelShape(hidden=576, layers=12, heads=9, kv_heads=3, mlp=2304, vocabulary=8192, tied=True, qkv_bias=True)
LAYER = -3
QUICK_ROWS, QUICK_LENGTH = 2, 96
TIMES = 9  # the fastest counts; more turns than in other benches, since the difference is small


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


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    command = parser(__doc__)
    add_device(command)
    asked = command.parse_args()
    torch.manual_seed(0)
    size = (QUICK_ROWS, QUICK_LENGTH) if asked.quick else (ROWS, LENGTH)
    measured = ways(policy(asked.device), *size, asked.device)
    fastest = dict.fromkeys(measured, float("inf"))
    for _ in range(2 if asked.quick else TIMES):
        for name, way in measured.items():  # in turns, so that all meet the same machine
            begun = perf_counter()
            way()
            if asked.device == "cuda":
                torch.cuda.synchronize()
            fastest[name] = min(fastest[name], perf_counter() - begun)
    for name, spent in fastest.items():
        print(f"{name:10} {spent:8.3f} s")
    report(
        {
            "share": round(fastest["with"] / fastest["without"] - 1, 4),
            "share_separate_forward": round(fastest["separate"] / fastest["without"] - 1, 4),
        }
    )


if __name__ == "__main__":
    main()
