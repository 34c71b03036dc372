"""Settings out of their range, and settings that do not go together, are refused with name, value and remedy."""

from typing import Any

import pytest

from tests.trainer.config.conftest import KINDS, changed, composed
from trainer.config.build import ConfigError, build
from trainer.config.commands import TrainConfig
from trainer.setup.credit import estimator_of

GPU4: dict[str, Any] = {"cluster.device": "cuda", "cluster.gpus": 4}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("updates", 0, "updates=0 is out of range: choose 1 or more"),
        ("groups_per_update", 0, "groups_per_update=0 is out of range: choose 1 or more"),
        ("group_size", 0, "group_size=0 is out of range: choose 1 or more"),
        ("max_idle_turns", 0, "max_idle_turns=0 is out of range: choose 1 or more, or null for no limit"),
        ("group_size", 2.5, "group_size=2.5 is not of type int: give a whole number, such as 4"),
        ("resume", "maybe", "resume='maybe': choose one of 'never', 'auto'"),
        ("record", "all", "record='all': choose one of 'none', 'rollouts', 'embeddings'"),
        ("model.prompt_tokens", 0, "model.prompt_tokens=0 is out of range: choose 1 or more"),
        ("model.response_tokens", 0, "model.response_tokens=0 is out of range: choose 1 or more"),
        ("env.history", -1, "env.history=-1 is out of range: choose 0 (no past turn) or more"),
        ("cluster.engines", 0, "cluster.engines=0 is out of range: choose 1 or more"),
        ("cluster.ranks", 0, "cluster.ranks=0 is out of range: choose 1 or more"),
        ("cluster.env_workers", 0, "cluster.env_workers=0 is out of range: choose 1 or more"),
        ("cluster.device", "tpu", "cluster.device='tpu': choose one of 'cpu', 'cuda'"),
        ("validation.every", 0, "validation.every=0 is out of range: choose 1 or more, or null for never"),
        ("validation.tasks", 0, "validation.tasks=0 is out of range: choose 1 or more"),
        ("checkpoint.every", 0, "checkpoint.every=0 is out of range: choose 1 or more"),
        ("checkpoint.export_every", 0, "checkpoint.export_every=0 is out of range: choose 1 or more"),
        ("checkpoint.keep", 0, "checkpoint.keep=0 is out of range: choose 1 or more"),
        ("log.wandb", "yes", "log.wandb='yes': choose one of 'auto', 'online', 'offline', 'disabled'"),
        ("learner.learning_rate", 0.0, "learner.learning_rate=0.0 is out of range: choose a value above 0"),
        ("learner.zero_stage", 4, "learner.zero_stage=4 is out of range: choose 0, 1, 2 or 3"),
        (
            "learner.lora.rank",
            0,
            "learner.lora.rank=0 is out of range: choose 1 or more, or null to train all weights",
        ),
        (
            "learner.lora.target_modules",
            "q_proj",
            "learner.lora.target_modules='q_proj' is not a list: write learner.lora.target_modules=[...]",
        ),
        # A policy cannot learn from greedy rollouts: the learner divides by the temperature.
        ("sampling.temperature", 0.0, "sampling.temperature=0.0 is out of range: choose 0.01 or more"),
        # vLLM would sample at 0.01, and the learner score at 0.005.
        (
            "sampling.temperature",
            0.005,
            "sampling.temperature=0.005 is out of range: choose 0 (greedy), or 0.01 or more",
        ),
        (
            "validation.temperature",
            0.005,
            "validation.temperature=0.005 is out of range: choose 0 (greedy), or 0.01 or more",
        ),
        ("rollout.truncated", "drop", "rollout.truncated='drop': choose one of 'keep', 'invalid', 'mask'"),
        ("learner.loss.clip_low", 1.0, "learner.loss.clip_low=1.0 is out of range: choose a value in (0, 1)"),
        ("revise.references", 0, "revise.references=0 is out of range: choose 1 or more"),
        ("learner.lerning_rate", 0.1, "unknown setting learner.lerning_rate=0.1: did you mean 'learning_rate'?"),
        ("estimator", {}, "estimator.name is not set: choose one with estimator=gigpo"),
    ],
)
def test_a_setting_out_of_range_is_refused(plain_train: dict[str, Any], path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(TrainConfig, changed(plain_train, path, value))
    assert str(refusal.value) == message


# What a number outside its range does without this check: engines die, groups are empty, evaluations divide by zero.
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sampling.temperature", -0.5),
        ("sampling.top_p", 0.0),
        ("sampling.top_p", 1.5),
        ("sampling.max_tokens", 0),
        ("validation.temperature", -1.0),
        ("rollout.retries", -1),
        ("rollout.max_failure_share", -0.1),
        ("rollout.max_failure_share", 1.5),
        ("rollout.env_timeout_s", 0.0),
        ("engine.max_num_seqs", 0),
        ("engine.tensor_parallel", 0),
        ("cluster.device", "tpu"),
        ("cluster.dtype", "float8"),
        ("cluster.threads", 0),
        ("engine.kv_cache_bytes", 0),
        ("engine.gpu_memory", 1.5),
        ("rollout.success_reward", 0.0),
        ("learner.warmup_steps", -1),
        ("learner.decay_steps", 0),
        ("learner.grad_clip", 0.0),
        ("cluster.gpus", -1),
        ("cluster.placement", "together"),
        ("cluster.start_timeout_s", 0.0),
        ("cluster.publish_timeout_s", 0.0),
        ("cluster.bucket_bytes", 0),
        ("cluster.weight_transfer", "carrier pigeon"),
        ("engine.timeout_s", 0.0),
        ("engine.response_timeout_s", 0.0),
        ("learner.timeout_s", 0.0),
        ("cluster.cpus", 0),
        ("cluster.object_store_bytes", 1024),
        ("seed", -1),
        ("model.tiny.kv_heads", 0),
        ("model.tiny.kv_heads", 7),
        ("learner.weight_decay", -0.1),
        ("learner.betas", [0.9, 1.0]),
        ("learner.token_budget", 0),
        ("learner.optimizer_steps", 0),
        ("learner.loss.clip_high", 0.0),
        ("learner.loss.dual_clip", 1.0),
        ("learner.loss.ratio", "row"),
        ("learner.loss.kl_coef", -0.1),
        ("learner.loss.kl_estimator", "k4"),
        ("learner.loss.entropy_coef", -1.0),
        ("learner.loss.aggregation", "mean"),
        ("learner.loss.importance_cap", 0.5),
        ("learner.loss.negative_weight", -1.0),
        ("revise.credit", 0.0),
        ("revise.credit", 1.5),
        ("model.tiny.intermediate_size", 0),
        ("model.tiny.context", 0),
        ("model.tiny.vocab_size", 10),
        ("model.tiny.hidden_size", 100),
        ("model.tiny.layers", 0),
    ],
)
def test_a_number_nothing_could_run_with_is_refused_by_name(plain_train: dict[str, Any], path: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(TrainConfig, changed(plain_train, path, value))
    assert str(refusal.value).startswith(path)
    assert (str(value[-1]) if isinstance(value, list) else str(value)) in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("evaluate", "tasks", 0),
        ("evaluate", "tasks", -1),
        ("evaluate", "seed", -1),
        ("evaluate", "endpoint", "localhost:8000"),
        ("evaluate", "endpoint_concurrency", 0),
        ("evaluate", "sampling.temperature", -0.5),
        ("demos", "tasks", 0),
        ("demos", "passes", 0),
        ("demos", "seed", -1),
        ("warmstart", "tasks", 0),
        ("warmstart", "passes", 0),
        ("warmstart", "epochs", 0),
        ("warmstart", "revisions", 1.5),
        ("demos", "revisions", -0.1),
        ("warmstart", "rows_per_step", 0),
        ("warmstart", "seed", -1),
        ("quickstart", "warmstart.epochs", 0),
        ("quickstart", "warmstart.learning_rate", 0.0),
    ],
)
def test_a_number_that_leaves_nothing_to_do_is_refused_by_name(name: str, path: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(KINDS[name], changed(composed(name), path, value))
    assert f"{path}={value}" in str(refusal.value)


def test_a_prompt_longer_than_the_context_names_both_and_the_remedy(plain_train: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(TrainConfig, changed(plain_train, "model.prompt_tokens", 1010))
    assert str(refusal.value) == (
        "model.prompt_tokens=1010 + model.response_tokens=20 is longer than the model's context of 1024: "
        "lower one of them, or raise it with model.tiny.context=..."
    )


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        # The learner's log-probs are of the whole vocabulary.
        ("train", {"sampling.top_p": 0.9}, ("sampling.top_p=0.9", "sampling.top_p=1.0")),
        (
            "train",
            {"cluster.dtype": "bfloat16", "learner.zero_stage": 0},
            ("cluster.dtype=bfloat16", "learner.zero_stage=0"),
        ),
        (
            "train",
            {"learner.old_logprobs": "engine"},
            ("learner.old_logprobs='engine'", "learner.loss.importance_cap=2", "learner.old_logprobs=learner"),
        ),
        # Bounds that no token reaches.
        (
            "train",
            {"learner.old_logprobs": "engine", "learner.loss.importance_cap": 1.2, "learner.loss.clip_high": 0.25},
            ("learner.loss.importance_cap=1.2", "learner.loss.clip_high=0.25", "learner.old_logprobs=learner"),
        ),
        (
            "train",
            {"learner.loss.dual_clip": 3.0, "learner.loss.negative_weight": 0.0},
            ("learner.loss.dual_clip=3.0", "learner.loss.negative_weight=0", "learner.loss.dual_clip=null"),
        ),
        (
            "train",
            {
                "learner.loss.dual_clip": 3.0,
                "learner.loss.importance_cap": 2.0,
                "learner.old_logprobs": "engine",
            },
            ("learner.loss.dual_clip=3.0", "learner.loss.importance_cap=2.0", "learner.loss.dual_clip=null"),
        ),
        (
            "train",
            {"learner.compile": "layers", "learner.zero_stage": 3},
            ("learner.compile='layers'", "learner.zero_stage=3", "learner.compile=none"),
        ),
        ("train", {"learner.decay_steps": 599}, ("learner.decay_steps=599", "600 optimizer steps")),
        ("train", {"cluster.sleep": True}, ("cluster.sleep=true", "cluster.device='cpu'")),
        ("train", {"cluster.gpus": 1}, ("cluster.gpus=1", "cluster.device='cpu'")),
        ("train", {"cluster.device": "cuda"}, ("cluster.gpus=0", "cluster.device='cuda'")),
        # Engines and ranks that the GPUs do not hold.
        (
            "train",
            GPU4 | {"cluster.sleep": True, "cluster.placement": "split"},
            ("cluster.sleep=true", "cluster.placement='split'", "cluster.sleep=false"),
        ),
        ("train", {"cluster.address": "auto", "cluster.cpus": 4}, ("cluster.cpus=4", "cluster.address='auto'")),
        ("train", {"cluster.placement": "split"}, ("cluster.placement='split'", "cluster.device='cpu'")),
        (
            "train",
            {"cluster.weight_transfer": "ipc"},
            ("cluster.weight_transfer='ipc'", "cluster.device='cpu'", "cluster.weight_transfer=auto"),
        ),
        (
            "train",
            GPU4 | {"cluster.weight_transfer": "nccl"},
            ("cluster.weight_transfer='nccl'", "cluster.placement='colocated'", "cluster.weight_transfer=auto"),
        ),
        ("train", GPU4 | {"cluster.ranks": 5}, ("cluster.ranks=5", "cluster.gpus=4", "lower cluster.ranks")),
        ("warmstart", GPU4 | {"cluster.ranks": 5}, ("cluster.ranks=5", "cluster.gpus=4")),
        (
            "train",
            GPU4 | {"cluster.engines": 4, "cluster.ranks": 2},
            ("cluster.engines=4 x engine.tensor_parallel=1", "cluster.ranks=2", "cluster.placement=split"),
        ),
        (
            "train",
            GPU4 | {"cluster.engines": 4, "engine.tensor_parallel": 2},
            ("cluster.engines=4 x engine.tensor_parallel=2 takes 8 GPUs", "cluster.ranks=4"),
        ),
        (
            "train",
            GPU4 | {"cluster.placement": "split", "cluster.engines": 1, "engine.tensor_parallel": 2},
            ("cluster.placement='split'", "takes 6 GPUs", "cluster.gpus=4"),
        ),
        (
            "evaluate",
            GPU4 | {"cluster.engines": 2, "engine.tensor_parallel": 4},
            ("cluster.engines=2 x engine.tensor_parallel=4 takes 8 GPUs", "cluster.gpus=4"),
        ),
        ("evaluate", GPU4 | {"engine.tensor_parallel": 8}, ("engine.tensor_parallel=8", "cluster.gpus=4")),
        # A response longer than the model has room for after its prompt.
        ("train", {"sampling.max_tokens": 64}, ("sampling.max_tokens=64", "model.response_tokens=20")),
        ("evaluate", {"sampling.max_tokens": 64}, ("sampling.max_tokens=64", "model.response_tokens=20")),
        # Bare prompts show the current observation as the answer to the last turn.
        ("train", {"env.history": 0}, ("env.history=0", "env.style")),
        # An optimizer step needs a rollout.
        (
            "train",
            {"groups_per_update": 1, "learner.optimizer_steps": 9},
            ("learner.optimizer_steps=9", "groups_per_update=1", "group_size=8"),
        ),
        # One rule says how often an update steps.
        (
            "train",
            {"learner.rows_per_step": 256},
            ("learner.optimizer_steps=4 with learner.rows_per_step=256", "exactly one", "set the other to null"),
        ),
        ("train", {"learner.optimizer_steps": None}, ("learner.optimizer_steps=None", "learner.rows_per_step=None")),
        (
            "train",
            {"learner.optimizer_steps": None, "learner.rows_per_step": 64, "learner.decay_steps": 400},
            ("learner.decay_steps=400", "learner.rows_per_step=64", "learner.decay_steps=null"),
        ),
        ("train", {"max_groups_tried": 7}, ("max_groups_tried=7", "groups_per_update=16")),
        ("train", {"max_groups_tried": 64, "group_size": 1}, ("max_groups_tried=64", "group_size=1")),
        # A file of demonstrations is played already.
        ("warmstart", {"demos": "demos.jsonl", "passes": 2}, ("demos=demos.jsonl", "passes=2")),
        ("warmstart", {"demos": "demos.jsonl", "tasks": 5}, ("demos=demos.jsonl", "tasks=5")),
        ("warmstart", {"demos": "demos.jsonl", "revisions": 0.5}, ("demos=demos.jsonl", "revisions=0.5")),
        ("warmstart", {"revise_prompt": "{task}"}, ("revise_prompt does not show {attempt}",)),
    ],
)
def test_a_pair_that_does_not_go_together_is_refused_by_both_names(
    name: str, changes: dict[str, Any], told: tuple[str, ...]
) -> None:
    values = composed(name)
    for path, value in changes.items():
        values = changed(values, path, value)
    with pytest.raises(ConfigError) as refusal:
        build(KINDS[name], values)
    assert [part for part in told if part not in str(refusal.value)] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "gigpoo"}, "estimator 'gigpoo' is unknown: did you mean 'gigpo'?"),
        ({"name": "gigpo", "gama": 0.9}, "gigpo has no option 'gama': did you mean 'gamma'?"),
        ({"name": "gigpo", "gamma": 1.5}, "gigpo: gamma=1.5 is out of range: nearest 1.0"),
    ],
)
def test_an_estimator_that_cannot_be_built_is_refused(
    plain_train: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        estimator_of(build(TrainConfig, changed(plain_train, "estimator", options)))
    assert str(refusal.value).startswith(message)
