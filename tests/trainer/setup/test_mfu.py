"""What an update computes at least, by hand, and the cards whose peak is known."""

from dataclasses import replace

import pytest

from tests.trainer.run_stack import defaults
from trainer.config.learner import LoraConfig
from trainer.config.shape import ModelShape
from trainer.learner.reports import LearnReport
from trainer.setup.findings import Gpu
from trainer.setup.mfu import Arithmetic, peak_of

# One block of 2 * 4 * 4 + 2 * 4 * 4 + 3 * 4 * 8 + 2 * 4 = 168 weights; the head has 16 * 4 = 64.
SHAPE = ModelShape(hidden=4, layers=1, heads=2, kv_heads=2, mlp=8, vocabulary=16, tied=True)
LEARNED = LearnReport(
    **{**dict.fromkeys(LearnReport.__dataclass_fields__, 1), "tokens": 10, "scored_tokens": 5, "squared_tokens": 52}
)  # two sequences, of 4 and 6 tokens
CARD = Gpu(name="NVIDIA H100 80GB HBM3", memory_bytes=1, driver="580.1")


@pytest.mark.parametrize(("trains_all", "each"), [(True, 6), (False, 4)])
def test_mfu_is_what_the_weights_the_head_and_attention_take_over_the_peak(trains_all: bool, each: int) -> None:
    arithmetic = Arithmetic(shape=SHAPE, trains_all=trains_all, flops_a_second=1000.0)
    operations = each * 168 * 10 + each * 64 * 5 + 6 * 1 * 4 * 52
    assert arithmetic.mfu(LEARNED, seconds=2.0) == operations / 2000


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("Tesla V100-SXM2-32GB", None),
    ],
)
def test_a_card_is_known_by_the_words_of_its_name(name: str, peak: float | None) -> None:
    assert peak_of(name) == peak


def test_the_peak_is_that_of_all_ranks_and_an_adapter_trains_a_part() -> None:
    config = defaults()
    learner = replace(config.learner, world_size=2, lora=LoraConfig(rank=8))
    gpus = replace(
        config, learner=learner, cluster=replace(config.cluster, device="cuda", dtype="bfloat16", gpus=2, ranks=2)
    )
    arithmetic = Arithmetic.of(gpus, [CARD, CARD])
    assert arithmetic is not None
    assert (arithmetic.flops_a_second, arithmetic.trains_all) == (2 * 989e12, False)


def test_nothing_is_invented_on_a_cpu_for_an_unknown_card_or_for_two_kinds() -> None:
    config = defaults()
    gpus = replace(config, cluster=replace(config.cluster, device="cuda", dtype="bfloat16", gpus=2, ranks=2))
    assert Arithmetic.of(config, [CARD]) is None
    for here in ([], [replace(CARD, name="Tesla V100")], [CARD, replace(CARD, name="NVIDIA A100-SXM4-80GB")]):
        assert Arithmetic.of(gpus, here) is None
