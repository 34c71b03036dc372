"""What hidden states cost a scoring pass: taken on the way through the body, and by a forward pass of their own.

`python -m scripts.bench.hidden [--quick] [--device cuda]`: a Qwen2 of random weights scores a micro-batch with and
without the state of one layer at each row's last prompt cell, in turns. `share` is the added time over the time
without; `share_separate_forward` is that of a second forward pass that keeps all layers. The last line is JSON.
"""

from collections.abc import Callable, Mapping
from time import perf_counter

import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from scripts.bench.command_line import parser, report
from trainer.learner.policy import PolicyModule

ROWS, LENGTH, RESPONSE = 8, 512, 64
VOCABULARY, WIDTH, LAYERS = 8192, 576, 12
LAYER = -3
QUICK_ROWS, QUICK_LENGTH = 2, 96
TIMES = 9  # the fastest counts; more turns than in other benches, since the difference is small


def policy(device: str) -> PolicyModule:
    """A policy with random weights."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=WIDTH // 64,
        num_key_value_heads=WIDTH // 192,
        tie_word_embeddings=True,
    )
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    return PolicyModule(Qwen2ForCausalLM(config)).to(device, dtype).eval()


def ways(module: PolicyModule, rows: int, length: int, device: str) -> Mapping[str, Callable[[], object]]:
    """The scoring pass without hidden states, with them, and with a forward pass of their own."""
    ids = torch.randint(VOCABULARY, (rows, length), device=device)
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
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute; default cpu")
    asked = command.parse_args()
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
