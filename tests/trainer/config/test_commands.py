"""Commands' configs: bad values and settings that do not go together are refused with name, value and remedy."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from estimators import ESTIMATORS, Estimator
from trainer.commands.defaults import register
from trainer.commands.make_data import HouseholdsConfig
from trainer.config.build import ConfigError, build
from trainer.config.commands import DemosConfig, EvaluateConfig, QuickstartConfig, TrainConfig, WarmstartConfig
from trainer.config.defaults import defaults_of
from trainer.lab.config import LabConfig, TruthConfig
from trainer.lab.worlds.crafting import CraftingConfig
from trainer.setup.preflight import estimator_of, plan_evaluation
from trainer.setup.world import open_world

CONFIGS = Path(__file__).parents[3] / "configs"
KINDS = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "demos": DemosConfig,
    "warmstart": WarmstartConfig,
    "quickstart": QuickstartConfig,
}
PRESETS = {
    group: sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
    for group in ("cluster", "env", "estimator", "model", "world_model")
}


@cache
def _composed(name: str, *overrides: str) -> dict[str, Any]:
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose(name, overrides=["output=out", *overrides])
    return OmegaConf.to_container(config, resolve=True)  # pyright: ignore[reportReturnType]


def composed(name: str, *overrides: str) -> dict[str, Any]:
    """configs/`name`.yaml with overrides, as the command sees it."""
    return deepcopy(_composed(name, *overrides))


@pytest.fixture(scope="module")
def plain_train() -> dict[str, Any]:
    return composed("train")


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    values = deepcopy(values)
    *groups, name = path.split(".")
    inner = values
    for group in groups:
        inner = inner.setdefault(group, {})
    inner[name] = value
    return values


@pytest.mark.parametrize("name", KINDS)
def test_every_command_composes_to_its_type(name: str) -> None:
    assert type(build(KINDS[name], composed(name))) is KINDS[name]


def test_the_leaking_split_of_the_public_code_is_a_preset_that_trains_on_what_it_validates() -> None:
    env = build(TrainConfig, composed("train", "env=webshop_verl_agent", "env.options.shop_size=200")).env
    world = open_world(env)
    assert env.overlap
    assert world.leaked == set(world.validation)


def test_an_evaluation_trains_on_nothing_so_its_splits_may_overlap() -> None:
    config = composed("evaluate", "env=textcraft", "env.validation_split=agentgym", "endpoint=http://localhost:1")
    assert plan_evaluation(build(EvaluateConfig, config)).world.leaked


def settings(config: Any, path: str = "") -> set[str]:
    """The dotted names of all fields of a config and of the configs in it."""
    names: set[str] = set()
    for field in fields(config):
        value, name = getattr(config, field.name), f"{path}{field.name}"
        names |= settings(value, f"{name}.") if is_dataclass(value) else {name}
    return names


@pytest.mark.parametrize("name", KINDS)
def test_every_setting_is_composed_or_derived(name: str) -> None:
    values, kind = composed(name), KINDS[name]
    hidden = {path for path in settings(build(kind, values)) if not stands_in(values, path)}
    assert {path for path in hidden if not path.startswith(tuple(fixed(kind)))} == set()


def fixed(kind: type) -> list[str]:
    """The settings of a command that nobody sets by hand."""
    rules: Mapping[str, Any] = getattr(kind, "derived", {})
    return [path for path, rule in rules.items() if not getattr(rule, "free", False)]


def stands_in(values: Any, path: str) -> bool:
    first, _, rest = path.partition(".")
    return first in values and (not rest or stands_in(values[first], rest))


@pytest.mark.parametrize("name", KINDS)
def test_the_yaml_of_a_command_holds_only_what_differs_from_the_defaults(name: str) -> None:
    defaults = defaults_of(KINDS[name])
    repeated = [path for path, value in flat(written(f"{name}.yaml")) if value == at(defaults, path)]
    assert repeated == []


def written(file: str) -> dict[str, Any]:
    """A YAML file of configs/ as it stands, without what only Hydra reads."""
    values: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / file))
    return {key: value for key, value in values.items() if key not in ("defaults", "hydra")}


def flat(values: Any, start: str = "") -> list[tuple[str, Any]]:
    """The leaves of nested settings by their dotted names."""
    if not isinstance(values, dict):
        return [(start.removesuffix("."), values)]
    return [leaf for key, value in values.items() for leaf in flat(value, f"{start}{key}.")]


def at(values: Any, path: str) -> Any:
    for name in path.split("."):
        values = values[name]
    return values


@pytest.mark.parametrize("group", ["cluster", "engine", "env", "learner", "model"])
def test_a_preset_holds_only_what_differs_from_the_defaults(group: str) -> None:
    defaults = defaults_of(TrainConfig)[group]
    for path in (CONFIGS / group).glob("*.yaml"):
        preset = flat(written(f"{group}/{path.name}"))
        repeated = [name for name, value in preset if stands_in(defaults, name) and at(defaults, name) == value]
        on_another_preset = "defaults" in OmegaConf.load(path)  # which it may take back
        assert on_another_preset or repeated == [], path


# These commands write their settings in the YAML too, so that they can be overridden without `+`.
@pytest.mark.parametrize(
    ("name", "group", "kind", "differ"),
    [
        ("lab", "", LabConfig, []),
        ("lab", "truth", TruthConfig, ["mazes"]),  # the command compares three mazes
        ("lab", "truth.crafting", CraftingConfig, []),
        ("data_alfworld_generate", "", HouseholdsConfig, []),
    ],
)
def test_yaml_and_dataclass_agree_where_both_hold_a_default(
    name: str, group: str, kind: type, differ: list[str]
) -> None:
    values = written(f"{name}.yaml")
    in_yaml, in_class = dict(flat(at(values, group) if group else values)), dict(flat(defaults_of(kind)))
    shared = [path for path in in_yaml if in_class.get(path, "???") != "???"]
    assert shared
    assert [path for path in shared if in_yaml[path] != in_class[path]] == differ


@pytest.mark.parametrize(
    ("name", "path", "source"),
    [
        ("train", "rollout.history", "env.history"),
        ("evaluate", "rollout.history", "env.history"),
        ("train", "learner.temperature", "sampling.temperature"),
        ("train", "learner.device", "cluster.device"),
        ("train", "learner.dtype", "cluster.dtype"),
        ("train", "learner.world_size", "cluster.ranks"),
        ("train", "learner.gpus", "cluster.rank_gpus"),
        ("warmstart", "learner.threads", "cluster.threads"),
        ("train", "engine.device", "cluster.device"),
        ("train", "engine.dtype", "cluster.dtype"),
        ("evaluate", "engine.count", "cluster.engines"),
        ("train", "engine.gpus", "cluster.engine_gpus"),
        ("train", "engine.threads", "cluster.threads"),
        ("train", "engine.sleep", "cluster.sleep"),
    ],
)
def test_a_derived_setting_cannot_be_set_by_hand(name: str, path: str, source: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(KINDS[name], changed(composed(name), path, 3))
    assert str(refusal.value) == f"{path}=3 cannot be set by hand: it follows from {source}, set that instead"


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("evaluate", "engine.sleep", True),
        ("evaluate", "rollout.success_reward", 1.0),
        ("warmstart", "learner.optimizer_steps", 2),
        ("warmstart", "learner.loss.kl_coef", 0.1),
        ("warmstart", "learner.temperature", 0.7),
    ],
)
def test_a_setting_that_a_command_does_not_use_is_refused(name: str, path: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"cannot be set by hand: .*; leave it out"):
        build(KINDS[name], changed(composed(name), path, value))


def test_what_is_derived_follows_its_source() -> None:
    overrides = ("env.history=3", "sampling.temperature=0.7", "cluster.threads=3", "model.response_tokens=16")
    config = build(TrainConfig, composed("train", *overrides))
    assert (config.rollout.history, config.learner.temperature, config.sampling.max_tokens) == (3, 0.7, 16)
    assert (config.engine.threads, config.learner.threads) == (3, 3)


def test_a_response_may_be_shorter_than_its_room() -> None:
    assert build(TrainConfig, composed("train", "sampling.max_tokens=8")).sampling.max_tokens == 8


@pytest.mark.parametrize(("gpus", "workers"), [(1, 2), (2, 4), (4, 8), (8, 8), (3, 6)])
def test_engines_ranks_and_env_workers_follow_from_the_number_of_gpus(gpus: int, workers: int) -> None:
    cluster = build(TrainConfig, composed("train", "cluster=gpu", f"cluster.gpus={gpus}")).cluster
    assert (cluster.engines, cluster.ranks, cluster.env_workers) == (gpus, gpus, workers)


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_a_numbered_gpu_preset_is_the_gpu_preset_with_that_many(gpus: int) -> None:
    assert composed("train", f"cluster=gpu{gpus}") == composed("train", "cluster=gpu", f"cluster.gpus={gpus}")


def test_an_engine_may_span_two_gpus() -> None:
    overrides = ("cluster=gpu4", "cluster.engines=2", "engine.tensor_parallel=2", "cluster.env_workers=5")
    config = build(TrainConfig, composed("train", *overrides))
    assert (config.engine.count, config.learner.world_size, config.cluster.env_workers) == (2, 4, 5)


@pytest.mark.parametrize("preset", PRESETS["cluster"])
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


@pytest.mark.parametrize("preset", PRESETS["estimator"])
def test_an_estimator_preset_builds_its_namesake(preset: str) -> None:
    estimator: Estimator = estimator_of(build(TrainConfig, composed("train", f"estimator={preset}")))
    assert type(estimator) is ESTIMATORS[preset]


def test_every_estimator_has_a_preset() -> None:
    assert set(PRESETS["estimator"]) == set(ESTIMATORS)


# 2505.10978 and 2606.25556, the protocol that both share.
@pytest.mark.parametrize(("model", "layer", "eps"), [("qwen2.5_1.5b", -12, 0.05), ("qwen2.5_7b", -8, 0.1)])
def test_the_papers_models_are_trained_as_in_the_papers(model: str, layer: int, eps: float) -> None:
    config = build(TrainConfig, composed("train", f"model={model}"))
    assert (config.groups_per_update, config.group_size, config.updates) == (16, 8, 150)
    assert (config.sampling.temperature, config.validation_sampling.temperature) == (1.0, 0.4)
    assert (config.learner.learning_rate, config.learner.loss.kl_coef, config.learner.loss.clip_low) == (
        1e-6,
        0.01,
        0.2,
    )
    assert (config.rollout.success_reward, config.validation.every, config.sampling.max_tokens) == (10.0, 5, 512)
    assert (config.env.style, config.env.history) == ("react", 2)
    estimator = estimator_of(config)
    assert estimator == ESTIMATORS["bipace"](gamma=0.95, omega=1.0, invalid_penalty=0.1, layer=layer, eps=eps)


@pytest.mark.parametrize("model", PRESETS["model"])
@pytest.mark.parametrize("estimator", PRESETS["estimator"])
@pytest.mark.parametrize("cluster", ["cpu", "gpu4"])
def test_every_model_goes_with_every_estimator(model: str, estimator: str, cluster: str) -> None:
    values = composed("train", f"model={model}", f"estimator={estimator}", f"cluster={cluster}")
    config = build(TrainConfig, values)
    told = config.model.tuning
    assert (config.learner.learning_rate, config.learner.gradient_checkpointing) == (
        told.learning_rate,
        told.gradient_checkpointing,
    )
    assert type(estimator_of(config)) is ESTIMATORS[estimator]


@pytest.mark.parametrize("command", ["train", "evaluate", "warmstart"])
@pytest.mark.parametrize(
    ("preset", "source", "gpus"), [("1.5b", "Qwen/Qwen2.5-1.5B-Instruct", 2), ("7b", "Qwen/Qwen2.5-7B-Instruct", 4)]
)
def test_an_experiment_sets_model_world_and_cluster(command: str, preset: str, source: str, gpus: int) -> None:
    values = composed(command, f"experiment=textcraft_{preset}", "env.options.recipes=folder")
    config: Any = build(KINDS[command], values)
    assert (config.model.source, config.cluster.gpus) == (source, gpus)
    assert config.env.options == {"recipes": "folder", "protocol": "adapt", "distractors": 10, "max_steps": 40}


def test_the_command_line_wins_over_what_a_model_brings() -> None:
    overrides = ("model=tiny", "env.style=react", "learner.learning_rate=0.001", "estimator.layer=-1")
    config = build(TrainConfig, composed("train", *overrides))
    assert (config.env.style, config.learner.learning_rate, config.estimator["layer"]) == ("react", 0.001, -1)


# 2311.05772: ten distractors, forty steps; 2505.10978: think and act, two turns shown.
@pytest.mark.parametrize("model", [model for model in PRESETS["model"] if model != "tiny"])
@pytest.mark.parametrize("env", PRESETS["env"])
def test_real_models_play_as_in_the_papers(model: str, env: str) -> None:
    told = build(TrainConfig, composed("train", f"model={model}", f"env={env}")).env
    assert (told.style, told.history) == ("react", 2)
    if told.world == "textcraft":
        assert (told.options["distractors"], told.options["max_steps"]) == (10, 40)


@pytest.mark.parametrize("command", ["train", "quickstart", "evaluate", "warmstart", "demos"])
def test_tiny_policies_craft_in_a_smaller_world_unless_told_otherwise(command: str) -> None:
    tiny, faithful = (build(KINDS[command], composed(command, *words)).env for words in ((), ("~world_model",)))
    assert (tiny.style, tiny.history, tiny.options["distractors"], tiny.options["max_steps"]) == ("bare", 40, 3, 12)
    assert (faithful.style, faithful.history) == ("react", 2)
    assert (faithful.options["distractors"], faithful.options["max_steps"]) == (10, 40)


@pytest.mark.parametrize("preset", PRESETS["world_model"])
def test_a_world_model_preset_changes_one_world_for_one_model(preset: str) -> None:
    env, _, model = preset.rpartition("_")
    assert env in PRESETS["env"]
    assert model in PRESETS["model"]
    plain, fitted = (
        composed("train", f"env={env}", f"model={model}", *words)["env"] for words in (("~world_model",), ())
    )
    assert fitted != plain
    assert fitted.keys() == plain.keys()
    assert fitted["options"].keys() == plain["options"].keys()


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
        ("validation.every", 0, "validation.every=0 is out of range: choose 1 or more"),
        ("validation.tasks", 0, "validation.tasks=0 is out of range: choose 1 or more"),
        ("checkpoint.every", 0, "checkpoint.every=0 is out of range: choose 1 or more"),
        ("checkpoint.keep", 0, "checkpoint.keep=0 is out of range: choose 1 or more"),
        ("log.wandb", "yes", "log.wandb='yes': choose one of 'auto', 'online', 'offline', 'disabled'"),
        ("learner.learning_rate", 0.0, "learner.learning_rate=0.0 is out of range: choose a value above 0"),
        ("learner.zero_stage", 4, "learner.zero_stage=4 is out of range: choose 0, 1, 2 or 3"),
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
        ("cluster.engine_gpus", -0.1),
        ("cluster.rank_gpus", -0.1),
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
        ("train", {"learner.decay_steps": 599}, ("learner.decay_steps=599", "600 optimizer steps")),
        ("train", {"cluster.sleep": True}, ("cluster.sleep=True", "cluster.device='cpu'")),
        ("train", {"cluster.gpus": 1}, ("cluster.gpus=1", "cluster.device='cpu'")),
        ("train", {"cluster.device": "cuda"}, ("cluster.gpus=0", "cluster.device='cuda'")),
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
        # A file of demonstrations is played already.
        ("warmstart", {"demos": "demos.jsonl", "passes": 2}, ("demos=demos.jsonl", "passes=2")),
        ("warmstart", {"demos": "demos.jsonl", "tasks": 5}, ("demos=demos.jsonl", "tasks=5")),
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
