"""The quickstart hands the warm start's model to the training, and each its own learning rate."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from rollout.collect import Collected
from tests.fakes import group, step
from trainer.commands import quickstart as module
from trainer.commands.defaults import register
from trainer.commands.quickstart import quickstart
from trainer.commands.warmstart import WarmstartResult
from trainer.config.build import ConfigError, build
from trainer.config.commands import EnvConfig, QuickstartConfig, TrainConfig
from trainer.evaluation import Evaluation, evaluation
from trainer.report.progress import Display
from trainer.run import RunResult
from trainer.setup import preflight
from trainer.setup.go_on import how_to_go_on, training_of_quickstart
from trainer.setup.preflight import TrainingPlan, WarmstartPlan, plan_quickstart, settings_of
from trainer.setup.world import World, open_world


@cache
def defaults() -> QuickstartConfig:
    register()
    with initialize_config_dir(str(Path(__file__).parents[3] / "configs"), version_base="1.3"):
        values = compose("quickstart", overrides=["output=out"])
    return build(QuickstartConfig, OmegaConf.to_container(values, resolve=True))  # pyright: ignore[reportArgumentType]


class Steps:
    """Stands in for the three steps of a quickstart and remembers what each was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: list[Any] = []
        first: Evaluation = evaluation(Collected(groups=(group([step()], won=[True]),)), str)
        self.result = RunResult(validations=((0, first),), model=Path("model"))
        for name in ("warmstart", "train", "write_report"):
            monkeypatch.setattr(module, name, getattr(self, name))

    def warmstart(self, plan: WarmstartPlan, _: Display) -> WarmstartResult:
        self.given.append(plan)
        return WarmstartResult(model=Path(plan.config.output) / "model", losses=(2.0, 1.0))

    def train(self, plan: TrainingPlan, _: Display) -> RunResult:
        self.given.append(plan)
        return self.result

    def write_report(
        self, output: Path, config: Any, losses: tuple[float, ...], result: RunResult, _: Any
    ) -> list[str]:
        self.given.append((output, losses, result))
        return ["a table"]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def run(output: Path) -> RunResult:
    plan = plan_quickstart(replace(defaults(), output=str(output)))
    return quickstart(plan, Display(Console(quiet=True)))


def test_training_starts_from_the_model_of_the_warm_start(steps: Steps, tmp_path: Path) -> None:
    assert run(tmp_path) is steps.result
    warm, training, (reported, losses, result) = steps.given
    outputs = (warm.config.output, training.config.output, reported)
    assert outputs == (str(tmp_path / "warmstart"), str(tmp_path / "train"), tmp_path)
    sources = (warm.config.model.source, training.config.model.source)
    assert sources == ("tiny", str(tmp_path / "warmstart" / "model"))
    assert (losses, result) == ((2.0, 1.0), steps.result)


def test_warm_start_and_training_differ_only_in_the_settings_of_the_warm_start(steps: Steps, tmp_path: Path) -> None:
    run(tmp_path)
    warm, training = (plan.config for plan in steps.given[:2])
    asked = defaults()
    assert (warm.learner.learning_rate, training.learner.learning_rate) == (
        asked.warmstart.learning_rate,
        asked.learner.learning_rate,
    )
    assert warm.learner.learning_rate != training.learner.learning_rate
    assert (warm.learner.decay_steps, training.learner.decay_steps) == (None, asked.learner.decay_steps)
    assert training.learner.decay_steps is not None
    assert (warm.revisions, warm.revise_prompt) == (asked.warmstart.revisions, asked.revise.prompt)
    assert (warm.passes, warm.epochs, warm.seed) == (asked.warmstart.passes, asked.warmstart.epochs, training.seed)
    same = replace(asked, output=training.output, model=training.model)
    assert training == TrainConfig(**{name: getattr(same, name) for name in TrainConfig.__dataclass_fields__})
    assert type(training) is TrainConfig


def test_a_quickstart_opens_its_world_once(steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[World] = []

    def open_once(config: EnvConfig) -> World:
        opened.append(open_world(config))
        return opened[-1]

    monkeypatch.setattr(preflight, "open_world", open_once)
    run(tmp_path)
    warm, training, _ = steps.given
    assert [warm.world, training.world] == opened * 2


@pytest.mark.parametrize("folder", ["train", "warmstart"])
def test_a_folder_that_holds_a_quickstart_is_refused_before_anything_starts(
    steps: Steps, tmp_path: Path, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    with pytest.raises(ConfigError, match=f"{tmp_path} already holds a quickstart"):
        run(tmp_path)
    assert steps.given == []


def test_the_training_of_an_interrupted_quickstart_goes_on_by_the_command_that_is_told(tmp_path: Path) -> None:
    assert training_of_quickstart(tmp_path) is None
    model = tmp_path / "warmstart" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    told = training_of_quickstart(tmp_path)
    assert told is not None
    words = told.partition("stepcredit train ")[2].partition(",")[0].split()
    with initialize_config_dir(str(Path(__file__).parents[3] / "configs"), version_base="1.3"):
        values = compose("train", overrides=words)
    config = build(TrainConfig, OmegaConf.to_container(values, resolve=True))  # pyright: ignore[reportArgumentType]
    names = TrainConfig.__dataclass_fields__
    before = TrainConfig(**{name: getattr(defaults(), name) for name in names})
    before = replace(before, model=replace(before.model, source=str(model)))
    assert settings_of(config) == settings_of(before)
    assert (config.resume, config.output) == ("auto", str(tmp_path / "train"))
    assert how_to_go_on(replace(defaults(), output=str(tmp_path))) == told
    (tmp_path / "report.html").touch()
    assert training_of_quickstart(tmp_path) is None
