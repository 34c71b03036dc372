"""A training run follows the plan for its GPUs unless it is told otherwise."""

import json
from pathlib import Path

import pytest

from tests.trainer.config.conftest import composed
from trainer.config.build import ConfigError, build
from trainer.config.commands import TrainConfig, WarmstartConfig
from trainer.setup.findings import Gpu
from trainer.setup.gpu_memory import GIB
from trainer.setup.planned import card_bytes, planned, planned_warmstart
from trainer.setup.shapes import shape_of


def run(*overrides: str) -> TrainConfig:
    return build(TrainConfig, composed("train", "cluster.gpu_memory_gib=79.6", *overrides))


@pytest.mark.parametrize(
    ("overrides", "sleep", "zero_stage"),
    [
        (("model=qwen2.5_1.5b", "cluster=gpu1"), False, 1),
        (("model=qwen2.5_7b", "cluster=gpu4"), True, 3),
        (("model=qwen2.5_7b", "cluster=gpu8"), False, 3),
        (("model=qwen2.5_1.5b", "cluster=gpu1", "cluster.sleep=true"), True, 1),
        (("model=qwen2.5_1.5b", "cluster=gpu2", "learner.zero_stage=2"), False, 2),
        (
            ("model=qwen2.5_7b", "cluster=gpu8", "cluster.placement=split", "cluster.engines=2", "cluster.ranks=6"),
            False,
            2,
        ),
        (("model.source=nobody/knows", "cluster=gpu1"), True, 1),
        (("model=tiny", "cluster=cpu"), None, 1),
    ],
)
def test_a_run_takes_the_placement_and_the_stage_of_its_plan(
    overrides: tuple[str, ...], sleep: bool | None, zero_stage: int
) -> None:
    config = planned(run(*overrides))
    assert (config.cluster.sleep, config.learner.zero_stage) == (sleep, zero_stage)
    assert config.engine.sleep == bool(sleep)


def test_a_model_in_a_folder_is_planned_by_its_own_config_whatever_preset_it_is_put_into(tmp_path: Path) -> None:
    small, large = (run(f"model=qwen2.5_{size}", "cluster=gpu4").model.shape for size in ("1.5b", "7b"))
    assert small is not None
    assert large is not None
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "model_type": "qwen2",
                "hidden_size": large.hidden,
                "num_hidden_layers": large.layers,
                "num_attention_heads": large.heads,
                "num_key_value_heads": large.kv_heads,
                "intermediate_size": large.mlp,
                "vocab_size": large.vocabulary,
                "tie_word_embeddings": False,
            }
        )
    )
    words = ("model=qwen2.5_1.5b", f"model.source={tmp_path}")
    assert shape_of(run(*words).model).parameters == large.parameters > small.parameters
    assert planned(run(*words, "cluster=gpu4")).learner.zero_stage == 3
    (tmp_path / "config.json").unlink()
    assert shape_of(run(*words).model) == small


def test_compiled_layers_are_never_planned_with_the_stage_that_they_do_not_have() -> None:
    words = ("model=qwen2.5_7b", "cluster=gpu8")
    assert planned(run(*words)).learner.zero_stage == 3
    assert planned(run(*words, "learner.compile=layers")).learner.zero_stage == 2


def test_a_run_that_goes_on_keeps_its_stage_on_other_gpus_or_is_told_how_many_it_needs() -> None:
    words = ("model=qwen2.5_7b", "cluster.sleep=true")
    assert planned(run(*words, "cluster=gpu8")).learner.zero_stage == 2
    assert planned(run(*words, "cluster=gpu8"), stage=3).learner.zero_stage == 3
    assert planned(run(*words, "cluster=gpu4")).learner.zero_stage == 3
    with pytest.raises(ConfigError, match=r"take cluster\.gpus=8, where it fits"):
        planned(run(*words, "cluster=gpu4"), stage=2)


def test_the_engines_cache_is_the_one_that_was_planned_and_a_users_own_stays() -> None:
    words = ("model=qwen2.5_7b", "cluster=gpu8")
    cache = planned(run(*words)).engine.kv_cache_bytes
    # 128 rollouts over 8 engines, in bfloat16; a block of 16 tokens more
    assert cache == (16 * (2048 + 512) + 16) * 2 * 28 * 4 * 128 * 2
    copied = planned(run("model=qwen2.5_1.5b", "cluster=gpu8", "engine.tensor_parallel=4")).engine.kv_cache_bytes
    assert copied == (64 * (2048 + 512) + 16) * 2 * 28 * 1 * 128 * 2  # four GPUs share two KV heads
    assert planned(run(*words, "engine.kv_cache_bytes=1000000000")).engine.kv_cache_bytes == 1_000_000_000


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("model=qwen2.5_7b", "cluster=gpu2"), "take cluster.gpus=4, where it fits"),
        (("model=qwen2.5_7b", "cluster=gpu4", "cluster.sleep=false"), "take cluster.gpus=8, where it fits"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_with_the_number_of_gpus_that_would_do(
    overrides: tuple[str, ...], line: str
) -> None:
    with pytest.raises(ConfigError, match=line):
        planned(run(*overrides))


def test_a_warm_start_has_its_gpus_alone() -> None:
    words = ("model=qwen2.5_7b", "cluster=gpu4", "cluster.gpu_memory_gib=79.6")
    config = build(WarmstartConfig, composed("warmstart", *words))
    assert planned_warmstart(config).learner.zero_stage in (2, 3)
    with pytest.raises(ConfigError, match=r"raise cluster\.gpus, train a LoRA adapter with learner=lora_finetune"):
        planned_warmstart(build(WarmstartConfig, composed("warmstart", *words, "cluster.gpus=1")))


def test_the_card_that_is_planned_for_is_the_one_asked_for_or_the_smallest_here() -> None:
    cluster = run("cluster=gpu1").cluster
    here = tuple(Gpu(name="a card", memory_bytes=size * GIB, driver="580.1") for size in (48, 24))
    assert card_bytes(cluster, here) == int(79.6 * GIB)
    free = build(TrainConfig, composed("train", "cluster=gpu1")).cluster
    assert card_bytes(free, here) == 24 * GIB
    assert card_bytes(free, ()) == int(79.6 * GIB)
