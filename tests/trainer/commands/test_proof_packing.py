"""The proof of the packed pass on a CPU: float32 differs by its roundings alone, and every figure is there."""

from pathlib import Path

from trainer.commands.proof_model import write_model
from trainer.commands.proof_packing import PassSpec, packed_pass
from trainer.config.shape import ModelShape

SHAPE = ModelShape(hidden=64, layers=2, heads=2, kv_heads=1, mlp=128, vocabulary=512, tied=True, qkv_bias=True)


def test_the_packed_pass_of_the_proof_equals_a_pass_for_each_sequence(tmp_path: Path) -> None:
    write_model(SHAPE, tmp_path, "cpu")
    numbers = packed_pass(
        PassSpec(
            model=tmp_path, shape=SHAPE, device="cpu", dtype="float32", rows=6, prompt=40, response=10, token_budget=90
        )
    )
    assert max(numbers[name] for name in ("logprobs_nats", "entropy_nats", "hidden_error", "gradient_error")) < 1e-5
    assert all(numbers[f"{way}_tokens_per_s"] > 0 for way in ("rows", "padded", "packed"))
