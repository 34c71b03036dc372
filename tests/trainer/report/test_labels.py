"""A run is named at wandb by what tells it from others, unless the user names it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.config.conftest import composed
from tests.trainer.run_stack import configured, defaults
from trainer.config.build import ConfigError, build
from trainer.config.commands import TrainConfig
from trainer.config.settings import LogConfig
from trainer.report.labels import labelled, model_name


def test_group_and_tags_follow_from_experiment_world_model_estimator_and_seed(tmp_path: Path) -> None:
    model = replace(defaults().model, source="Qwen/Qwen2.5-7B-Instruct")
    config = configured(tmp_path, seed=3, model=model, log=LogConfig(experiment="textcraft_7b"))
    log = labelled(config)
    assert log.group == "textcraft_7b corridor Qwen2.5-7B-Instruct gigpo"
    assert log.tags == ("textcraft_7b", "corridor", "Qwen2.5-7B-Instruct", "gigpo", "seed=3")


def test_runs_that_differ_by_their_seed_alone_share_a_group(tmp_path: Path) -> None:
    first, second = (labelled(configured(tmp_path, seed=seed)) for seed in (0, 1))
    assert first.group == second.group == "corridor tiny gigpo"
    assert first.tags != second.tags


@pytest.mark.parametrize(
    ("source", "name"), [("model", "model"), ("out/warmstart/model", "warmstart"), ("/models/qwen/", "qwen")]
)
def test_a_model_in_a_folder_is_named_by_what_tells_it_from_others(source: str, name: str) -> None:
    assert model_name(source) == name


def test_names_that_are_given_stay(tmp_path: Path) -> None:
    log = LogConfig(group="mine", tags=())
    assert labelled(configured(tmp_path, log=log)) == log


def test_names_are_cut_to_what_wandb_takes(tmp_path: Path) -> None:
    log = labelled(configured(tmp_path, log=LogConfig(experiment="x" * 200)))
    assert [len(name) for name in (log.group or "", *(log.tags or ()))][:2] == [128, 64]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"group": ""}, "log.group= is out of range: choose 1 to 128 characters"),
        ({"tags": ["x" * 65]}, r"log.tags\[0\]=x+ is out of range: choose 1 to 64 characters"),
    ],
)
def test_names_that_wandb_would_refuse_are_refused_at_once(settings: dict[str, Any], named: str) -> None:
    values = composed("train")
    with pytest.raises(ConfigError, match=named):
        build(TrainConfig, {**values, "log": {**values["log"], **settings}})
