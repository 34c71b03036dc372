"""What the commands' configs are composed of: presets, defaults, derived settings."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from omegaconf import OmegaConf

from estimators import ESTIMATORS, Estimator
from tests.trainer.config.conftest import CONFIGS, KINDS, PRESETS, changed, composed, unresolved
from trainer.commands.make_data import HouseholdsConfig
from trainer.config.build import ConfigError, build
from trainer.config.commands import EvaluateConfig, TrainConfig
from trainer.config.defaults import defaults_of
from trainer.config.learner import LearnerConfig
from trainer.lab.config import LabConfig, TruthConfig
from trainer.lab.worlds.crafting import CraftingConfig
from trainer.setup.credit import estimator_of
from trainer.setup.preflight import plan_evaluation
from trainer.setup.world import open_world


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
    return isinstance(values, Mapping) and first in values and (not rest or stands_in(values[first], rest))


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
        ("warmstart", "learner.threads", "cluster.threads"),
        ("train", "engine.device", "cluster.device"),
        ("train", "engine.dtype", "cluster.dtype"),
        ("evaluate", "engine.count", "cluster.engines"),
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
        ("warmstart", "learner.rows_per_step", 64),
        ("warmstart", "learner.loss.kl_coef", 0.1),
        ("warmstart", "learner.temperature", 0.7),
    ],
)
def test_a_setting_that_a_command_does_not_use_is_refused(name: str, path: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"cannot be set by hand: .*; leave it out"):
        build(KINDS[name], changed(composed(name), path, value))


@pytest.mark.parametrize(
    ("rows", "rollouts", "steps"),
    [
        (6400, 128, 25),  # ALFWorld's 50 steps: 6400 / 256
        (6401, 128, 26),
        (255, 128, 1),
        (0, 0, 1),
        (6400, 16, 16),  # a rollout is never cut
    ],
)
def test_the_papers_step_once_per_so_many_rows(rows: int, rollouts: int, steps: int) -> None:
    learner = LearnerConfig(optimizer_steps=None, rows_per_step=256)
    assert learner.steps_of(rows=rows, rollouts=rollouts) == steps
    assert LearnerConfig(optimizer_steps=3).steps_of(rows=rows, rollouts=rollouts) == 3


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


def test_engines_that_span_two_gpus_are_half_as_many() -> None:
    overrides = ("cluster=gpu4", "engine.tensor_parallel=2", "cluster.env_workers=5")
    config = build(TrainConfig, composed("train", *overrides))
    assert (config.engine.count, config.learner.world_size, config.cluster.env_workers) == (2, 4, 5)


@pytest.mark.parametrize("preset", PRESETS["cluster"])
def test_a_cluster_preset_reaches_engine_and_learner(preset: str) -> None:
    config = build(TrainConfig, composed("train", f"cluster={preset}"))
    told = config.cluster
    assert (config.engine.device, config.engine.dtype, config.engine.count) == (told.device, told.dtype, told.engines)
    assert (config.learner.device, config.learner.dtype, config.learner.world_size) == (
        told.device,
        told.dtype,
        told.ranks,
    )
    # An engine and a rank share each GPU.
    assert told.shares_gpus == (told.gpus > 0)
    assert (told.engines, told.ranks) == (max(told.gpus, 1), max(told.gpus, 1))


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


@pytest.mark.parametrize("estimator", PRESETS["estimator"])
def test_an_estimators_preset_sets_the_estimator_alone(estimator: str) -> None:
    plain, chosen = unresolved("train").copy(), unresolved("train", f"estimator={estimator}").copy()
    plain.estimator = chosen.estimator = {}
    assert OmegaConf.to_container(chosen) == OmegaConf.to_container(plain)


@pytest.mark.parametrize("model", PRESETS["model"])
@pytest.mark.parametrize("estimator", PRESETS["estimator"])
@pytest.mark.parametrize("cluster", ["cpu", "gpu4"])
def test_every_model_goes_with_every_estimator(model: str, estimator: str, cluster: str) -> None:
    """What the two presets compose to, as the estimator's sets nothing else; two hundred compositions take a minute."""
    both = unresolved("train", f"model={model}", f"cluster={cluster}").copy()
    both.estimator = unresolved("train", f"estimator={estimator}").estimator
    config = build(TrainConfig, OmegaConf.to_container(both, resolve=True))  # pyright: ignore[reportArgumentType]
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
    ("overrides", "cap"),
    [
        ((), None),
        (("cluster=gpu4",), 2.0),
        (("cluster=gpu4", "learner.loss.importance_cap=null"), None),
        (("learner.loss.importance_cap=3.0",), 3.0),
    ],
)
def test_importance_weights_correct_the_engines_rounding_on_gpus(overrides: tuple[str, ...], cap: float | None) -> None:
    assert composed("train", *overrides)["learner"]["loss"]["importance_cap"] == cap


@pytest.mark.parametrize(
    ("command", "preset", "rate"),
    [("train", "lora", "learning_rate"), ("warmstart", "lora_finetune", "warmstart_learning_rate")],
)
def test_an_adapter_has_a_preset_for_each_way_of_training(command: str, preset: str, rate: str) -> None:
    values = composed(command, f"learner={preset}")
    learner = build(KINDS[command], values).learner
    assert (learner.lora.rank, learner.learning_rate) == (32, pytest.approx(10 * values["model"]["tuning"][rate]))


def test_an_adapter_learns_ten_times_as_fast_as_all_weights_in_an_experiment_too() -> None:
    learners = [composed("train", "experiment=tiny", f"learner={kind}")["learner"] for kind in ("reinforce", "lora")]
    assert [learner["learning_rate"] for learner in learners] == pytest.approx([2e-4, 2e-3])
