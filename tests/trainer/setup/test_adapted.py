"""Targets of an adapter that the model does not have are refused from its weights' names, before anything loads."""

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from tests.trainer.setup.test_packing import named
from trainer.config.build import ConfigError
from trainer.config.learner import LearnerConfig, LoraConfig, TargetModules
from trainer.setup.adapted import check_targets, linear_layers


def adapted(targets: TargetModules) -> LearnerConfig:
    return LearnerConfig(lora=LoraConfig(rank=4, target_modules=targets))


@pytest.mark.parametrize("shard_size", ["10MB", "20KB"])
def test_the_linear_layers_are_read_from_the_weights_files(
    tied_qwen: PreTrainedModel, tmp_path: Path, shard_size: str
) -> None:
    tied_qwen.save_pretrained(tmp_path, max_shard_size=shard_size)
    layers = linear_layers(named(str(tmp_path)))
    assert layers is not None
    assert (len(layers), "model.layers.2.mlp.down_proj" in layers, "lm_head" in layers) == (21, True, False)


@pytest.mark.parametrize(
    ("targets", "end"),
    [
        (("q_proj", "gate_porj"), "has no linear layer 'gate_porj' below its head: did you mean 'gate_proj'?"),
        (("lm_head",), "has no linear layer 'lm_head'"),
        (("embed_tokens",), "choose from down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj, or all-linear"),
    ],
)
@pytest.mark.parametrize("source", ["tiny", "folder"])
def test_a_target_that_the_model_does_not_have_is_refused(
    model_folder: Path, source: str, targets: tuple[str, ...], end: str
) -> None:
    model = named("tiny" if source == "tiny" else str(model_folder))
    with pytest.raises(ConfigError, match=r"learner\.lora\.target_modules=") as refusal:
        check_targets(adapted(targets), model)
    assert end in str(refusal.value)


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "mlp.up_proj"), ("layers.0.self_attn.k_proj",)])
def test_targets_that_the_model_has_are_taken(model_folder: Path, targets: TargetModules) -> None:
    check_targets(adapted(targets), named(str(model_folder)))


def test_what_is_not_known_here_is_left_to_the_load(model_folder: Path, tmp_path: Path) -> None:
    check_targets(adapted(("query",)), named("nobody/knows"))
    (tmp_path / "config.json").write_text('{"model_type": "bloom"}')
    check_targets(adapted(("query",)), named(str(tmp_path)))
    no_adapter = replace(adapted(("query",)), lora=LoraConfig(target_modules=("query",)))
    check_targets(no_adapter, named(str(model_folder)))


def test_a_broken_weights_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    (tmp_path / "model.safetensors").write_bytes(b"\x04\0\0\0\0\0\0\0{..}")
    with pytest.raises(ConfigError, match=r"model\.safetensors is no safetensors file"):
        check_targets(adapted(("q_proj",)), named(str(tmp_path)))
