"""Each setting either may differ between a run and its continuation, or not; what differs is told by name."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import pytest

from tests.trainer.config.conftest import changed, composed
from trainer.config.build import ConfigError, build, settable
from trainer.config.commands import TrainConfig
from trainer.config.continuing import as_words, binding, changes, check_same_settings, differences, flat, mark_of, plain
from trainer.config.derived import Follows
from trainer.setup.preflight import settings_of

# A new setting belongs into one of these lists, by the mark on its field (rollout/marks.py).
HARMLESS = {
    "": "output updates resume record protocol",
    "model.": "cache shape",
    "model.tuning.": "learning_rate warmstart_learning_rate layer eps gradient_checkpointing",
    "learner.": "world_size token_budget packing max_skipped_steps gradient_checkpointing compile threads timeout_s "
    "max_engine_mismatch",
    "engine.": "count tensor_parallel max_num_seqs kv_cache_bytes gpu_memory threads sleep timeout_s "
    "response_timeout_s restarts request_times",
    "cluster.": "gpus ranks engines placement gpu_memory_gib sleep threads cpus env_workers start_timeout_s "
    "weight_transfer publish_timeout_s bucket_bytes address object_store_bytes",
    "rollout.": "retries max_failure_share early_end env_timeout_s",
    "validation.": "every tasks temperature",
    "checkpoint.": "every export_every keep",
    "log.": "tensorboard wandb project group tags trajectories experiment",
}
FIXED = {
    "model.": "source",
    "model.tiny.": "hidden_size intermediate_size layers kv_heads vocab_size context seed",
    "learner.": "device dtype zero_stage",
    "learner.lora.": "rank alpha target_modules",
    "engine.": "device dtype",
    "cluster.": "device dtype",
}
BINDING = {
    "": "estimator scorer seed groups_per_update group_size task_choice max_groups_tried ahead max_idle_turns "
    "deterministic",
    "model.": "prompt_tokens response_tokens",
    "env.": "world _target_ options style history examples train_split validation_split overlap",
    "learner.": "learning_rate weight_decay betas warmup_steps decay_steps grad_clip optimizer_steps rows_per_step "
    "temperature old_logprobs",
    "learner.loss.": "clip_low clip_high dual_clip ratio kl_coef kl_estimator entropy_coef aggregation importance_cap "
    "negative_weight",
    "learner.critic.": "learning_rate clip body_coef",
    "engine.": "extra",
    "rollout.": "history success_reward graded truncated",
    "sampling.": "temperature max_tokens top_p",
    "revise.": "prompt references credit mode weight",
}


def listed(groups: dict[str, str]) -> set[str]:
    return {f"{group}{name}" for group, names in groups.items() for name in names.split()}


def names(kind: Any, start: str = "") -> Iterator[str]:
    """The dotted names of all settings."""
    for field in fields(kind):
        inner = get_type_hints(kind)[field.name]
        if is_dataclass(inner) and isinstance(inner, type):
            yield from names(inner, f"{start}{field.name}.")
        else:
            yield f"{start}{field.name}"


def test_every_setting_is_harmless_or_binds_a_continuation_or_a_fork_too() -> None:
    by_mark: dict[str, set[str]] = {}
    for name in names(TrainConfig):
        by_mark.setdefault(mark_of(TrainConfig, name), set()).add(name)
    assert by_mark == {"harmless": listed(HARMLESS), "fixed": listed(FIXED), "binding": listed(BINDING)}


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return build(TrainConfig, composed("train"))


@pytest.mark.parametrize("name", list(names(TrainConfig)))
def test_a_setting_that_differs_is_told_and_kept_in_checkpoints_unless_it_is_harmless(
    config: TrainConfig, name: str
) -> None:
    before = plain(config)
    now = changed(before, name, "another")
    told = {one.name for one in differences(TrainConfig, before, now)}
    rule = TrainConfig.derived.get(name)
    to_set = rule.source if isinstance(rule, Follows) and not rule.free else name
    assert {one for one in told if not one.startswith(f"{name}.")} == {to_set}
    assert (name in flat(binding(TrainConfig, now))) == (name not in listed(HARMLESS))


def test_a_config_that_was_written_is_built_again_as_it_was(config: TrainConfig) -> None:
    assert build(TrainConfig, settable(TrainConfig, plain(config))) == config


def same(before: Any, now: Any, defaults: Any = None) -> None:
    check_same_settings(differences(TrainConfig, before, now, defaults=defaults), "checkpoint", "start anew")


def test_the_same_settings_are_the_same_run() -> None:
    before, now = {"seed": 0, "model": {"source": "tiny"}}, {"model": {"source": "tiny"}, "seed": 0}
    assert differences(TrainConfig, before, now) == ()
    same(before, now)


def test_a_checkpoint_from_before_there_was_a_setting_counts_as_made_with_its_default() -> None:
    saved, defaults = {"seed": 0}, {"rollout": {"truncated": "keep"}}
    same(saved, {"seed": 0, "rollout": {"truncated": "keep"}}, defaults)
    with pytest.raises(ConfigError, match=r"was made with rollout.truncated='keep', this run has .*='mask'"):
        same(saved, {"seed": 0, "rollout": {"truncated": "mask"}}, defaults)


@pytest.mark.parametrize(("state", "differ"), [("observation", []), ("history", ["estimator.state"])])
def test_an_option_that_a_run_does_not_name_is_its_estimators_default(state: str, differ: list[str]) -> None:
    before, now = {"estimator": {"name": "gigpo"}}, {"estimator": {"name": "gigpo", "state": state}}
    for pair in ((before, now), (now, before)):
        assert [one.name for one in differences(TrainConfig, *pair)] == differ


def test_a_checkpoint_from_before_the_machine_was_named_is_checked_by_what_it_names(config: TrainConfig) -> None:
    old = settings_of(config)
    del old["cluster"], old["engine"]
    now = changed(settings_of(config), "cluster.dtype", "bfloat16")
    same(old, now, settings_of(config))
    with pytest.raises(ConfigError, match=r"cluster.dtype='float32', this run has cluster.dtype='bfloat16'"):
        same(old, changed(now, "learner.dtype", "bfloat16"), settings_of(config))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model": {"source": "other"}, "seed": 0}, "model.source='tiny', this run has model.source='other': set it"),
        ({"model": {"source": "tiny"}, "seed": 1}, "seed=0, this run has seed=1: set it back, or start anew"),
        ({"model": {"source": "tiny"}}, "seed=0, this run has seed=None"),
        ({"model": {"source": "tiny"}, "seed": 0, "group_size": 8}, "group_size=None, this run has group_size=8"),
        (
            {"model": {"source": "other"}, "seed": 1},
            "model.source='tiny', seed=0, this run has model.source='other', seed=1: set them back, or start anew",
        ),
    ],
)
def test_another_runs_checkpoint_is_refused_by_every_setting_that_differs(settings: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=f"was made with {named}"):
        same({"seed": 0, "model": {"source": "tiny"}}, settings)


def test_differences_are_written_as_a_command_takes_them() -> None:
    before: dict[str, Any] = {
        "learner": {"betas": [0.9, 0.99], "decay_steps": 3},
        "record": "none",
        "revise": {"prompt": ""},
    }
    now = {"learner": {"betas": [0.9, 0.95], "decay_steps": None}, "record": "rollouts", "revise": {"prompt": "x" * 99}}
    different = differences(TrainConfig, before, now)
    assert as_words(different) == "learner.betas=[0.9,0.95] learner.decay_steps=null record=rollouts revise.prompt=..."
    assert changes(different[:2]) == "learner.betas [0.9,0.99] -> [0.9,0.95], learner.decay_steps 3 -> null"
