"""What a run is told: ranges and pairs that do not go together are refused with key, value and remedy."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from estimators import ESTIMATORS, Estimator
from trainer.config import TrainConfig
from trainer.measure import EvaluateConfig
from trainer.parts import estimator_of
from trainer.typed import ConfigError, build
from trainer.warmstart import DemosConfig, WarmstartConfig

CONFIGS = Path(__file__).parents[2] / "configs"
KINDS = {"train": TrainConfig, "evaluate": EvaluateConfig, "demos": DemosConfig, "warmstart": WarmstartConfig}


def composed(name: str, *overrides: str) -> dict[str, Any]:
    """configs/`name`.yaml with overrides, as the door sees it."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose(name, overrides=["output=out", *overrides])
    return OmegaConf.to_container(config, resolve=True)


@pytest.fixture(scope="module")
def plain_train() -> dict[str, Any]:
    return composed("train")


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    values = deepcopy(values)
    *groups, name = path.split(".")
    inner = values
    for group in groups:
        inner = inner[group]
    inner[name] = value
    return values


@pytest.mark.parametrize("name", KINDS)
def test_every_command_composes_to_its_type(name: str) -> None:
    assert type(build(KINDS[name], composed(name))) is KINDS[name]


@pytest.mark.parametrize("preset", sorted(path.stem for path in (CONFIGS / "cluster").glob("*.yaml")))
def test_a_cluster_preset_reaches_engine_and_learner(preset: str) -> None:
    config = build(TrainConfig, composed("train", f"cluster={preset}"))
    told = config.cluster
    assert (config.engine.device, config.engine.dtype, config.engine.count, config.engine.gpus) == (
        told.device,
        told.dtype,
        told.engines,
        told.engine_gpus,
    )
    assert (config.learner.device, config.learner.dtype, config.learner.world_size, config.learner.gpus) == (
        told.device,
        told.dtype,
        told.ranks,
        told.rank_gpus,
    )
    # An engine and a rank share each GPU, and no GPU is promised twice.
    assert told.engine_gpus + told.rank_gpus == (1.0 if told.gpus else 0.0)
    assert told.gpus in (0, told.engines)


@pytest.mark.parametrize("preset", sorted(path.stem for path in (CONFIGS / "estimator").glob("*.yaml")))
def test_an_estimator_preset_builds_its_namesake(preset: str) -> None:
    estimator: Estimator = estimator_of(build(TrainConfig, composed("train", f"estimator={preset}")))
    assert type(estimator) is ESTIMATORS[preset]


def test_every_estimator_has_a_preset() -> None:
    assert {path.stem for path in (CONFIGS / "estimator").glob("*.yaml")} == set(ESTIMATORS)


def test_the_papers_protocol_is_the_default(plain_train: dict[str, Any]) -> None:
    config = build(TrainConfig, plain_train)
    assert (config.groups_per_update, config.group_size, config.updates) == (16, 8, 150)
    assert (config.sampling.temperature, config.validation_sampling.temperature) == (1.0, 0.4)
    assert (config.learner.learning_rate, config.learner.loss.kl_coef) == (1e-6, 0.01)
    assert (config.rollout.success_reward, config.validation.tasks) == (10.0, 128)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("updates", 0, "updates=0: choose 1 or more"),
        ("groups_per_update", 0, "groups_per_update=0: choose 1 or more"),
        ("group_size", 0, "group_size=0: choose 1 or more"),
        ("group_size", 2.5, "group_size=2.5 is not of type int"),
        ("resume", "maybe", "resume='maybe': choose one of 'never', 'auto'"),
        ("record", "all", "record='all': choose one of 'none', 'rollouts', 'embeddings'"),
        ("model.prompt_tokens", 0, "model.prompt_tokens=0: choose 1 or more"),
        ("model.response_tokens", 0, "model.response_tokens=0: choose 1 or more"),
        ("env.history", -1, "env.history=-1 is negative: 0 shows no past turn"),
        ("cluster.engines", 0, "cluster.engines=0: choose 1 or more"),
        ("cluster.ranks", 0, "cluster.ranks=0: choose 1 or more"),
        ("cluster.env_workers", 0, "cluster.env_workers=0: choose 1 or more"),
        ("cluster.device", "tpu", "cluster.device='tpu': choose one of 'cpu', 'cuda'"),
        ("validation.every", 0, "validation.every=0: choose 1 or more"),
        ("validation.tasks", 0, "validation.tasks=0: choose 1 or more"),
        ("checkpoint.every", 0, "checkpoint.every=0: choose 1 or more"),
        ("checkpoint.keep", 0, "checkpoint.keep=0: choose 1 or more"),
        ("log.wandb", "yes", "log.wandb='yes': choose one of 'auto', 'online', 'offline', 'disabled'"),
        ("learner.learning_rate", 0.0, "learner.learning_rate=0.0 is out of range: choose a value above 0"),
        ("learner.zero_stage", 4, "learner.zero_stage=4 is out of range: choose a value 0, 1, 2 or 3"),
        ("learner.temperature", 0.0, "learner.temperature=0.0 is out of range: choose a value above 0"),
        ("learner.loss.clip_low", 1.0, "loss.clip_low=1.0 is out of range: choose a value in (0, 1)"),
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
        ("rollout.history", -1),
        ("rollout.retries", -1),
        ("rollout.max_failure_share", -0.1),
        ("rollout.max_failure_share", 1.5),
        ("engine.count", 0),
        ("engine.max_num_seqs", 0),
        ("engine.tensor_parallel", 0),
        ("engine.device", "tpu"),
        ("engine.dtype", "float8"),
        ("model.tiny.vocab_size", 10),
        ("model.tiny.hidden_size", 100),
        ("model.tiny.layers", 0),
    ],
)
def test_a_number_nothing_could_run_with_is_refused_by_name(
    plain_train: dict[str, Any], path: str, value: Any
) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(TrainConfig, changed(plain_train, path, value))
    assert path in str(refusal.value)
    assert str(value) in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("evaluate", "tasks", 0),
        ("evaluate", "tasks", -1),
        ("evaluate", "endpoint_concurrency", 0),
        ("evaluate", "sampling.temperature", -0.5),
        ("demos", "tasks", 0),
        ("demos", "passes", 0),
        ("warmstart", "tasks", 0),
        ("warmstart", "passes", 0),
        ("warmstart", "epochs", 0),
        ("warmstart", "rows_per_step", 0),
    ],
)
def test_a_number_that_leaves_nothing_to_do_is_refused_by_name(name: str, path: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(KINDS[name], changed(composed(name), path, value))
    assert f"{path}={value}" in str(refusal.value)


def test_a_prompt_longer_than_the_context_names_both_and_the_remedy(plain_train: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(TrainConfig, changed(plain_train, "model.prompt_tokens", 1000))
    assert str(refusal.value) == (
        "model.prompt_tokens=1000 + model.response_tokens=32 is longer than the model's context of 1024: "
        "lower one of them or raise model.tiny.context"
    )


def _twice(first: tuple[str, Any], second: tuple[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda values: changed(changed(values, *first), *second)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_twice(("learner.device", "cuda"), ("learner.zero_stage", 1)), ("learner.device='cuda'", "engine.device='cpu'")),
        (
            _twice(("sampling.temperature", 0.7), ("learner.temperature", 1.0)),
            ("sampling.temperature=0.7", "learner.temperature=1.0"),
        ),
        (
            _twice(("learner.dtype", "bfloat16"), ("learner.zero_stage", 0)),
            ("learner.dtype=bfloat16", "learner.zero_stage=0"),
        ),
        # A response longer than the model has room for after its prompt.
        (_twice(("sampling.max_tokens", 64), ("model.response_tokens", 32)), ("sampling.max_tokens=64", "response_tokens=32")),
        # The demonstrations and the measured prompts follow the one, the rollouts the other.
        (_twice(("env.history", 4), ("rollout.history", 2)), ("env.history=4", "rollout.history=2")),
        # Bare prompts show the current observation as the answer to the last turn.
        (_twice(("env.history", 0), ("rollout.history", 0)), ("env.history=0", "env.style")),
        # An optimizer step needs a rollout.
        (_twice(("groups_per_update", 1), ("learner.optimizer_steps", 9)), ("learner.optimizer_steps=9", "group_size=8")),
    ],
)  # fmt: skip
def test_a_pair_that_does_not_go_together_is_refused_by_both_names(
    plain_train: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]], told: tuple[str, str]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(TrainConfig, change(plain_train))
    assert [name for name in told if name not in str(refusal.value)] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "gigpoo"}, "estimator 'gigpoo' is unknown: did you mean 'gigpo'? It is one of bipace, gigpo, grpo, rloo"),
        ({"name": "gigpo", "gama": 0.9}, "gigpo has no option 'gama': did you mean 'gamma'?"),
        ({"name": "gigpo", "gamma": 1.5}, "gigpo: gamma=1.5 is out of range: nearest 1.0, give a finite number in [0.0, 1.0]"),
    ],
)  # fmt: skip
def test_an_estimator_that_cannot_be_built_is_refused(
    plain_train: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        estimator_of(build(TrainConfig, changed(plain_train, "estimator", options)))
    assert str(refusal.value).startswith(message)
