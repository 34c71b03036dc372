"""`stepcredit warmstart` with a learner in this process: its model is there whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from tests.fakes import CharCodec
from tests.trainer.commands.conftest import CORRIDOR
from trainer.commands import warmstart as command
from trainer.commands.defaults import register
from trainer.config.build import ConfigError, build
from trainer.config.commands import WarmstartConfig
from trainer.data.demos import Demo, DemoStep, write
from trainer.learner.reports import LearnReport
from trainer.report.progress import Display
from trainer.setup.preflight import WarmstartPlan
from trainer.setup.world import open_world


class Exporting:
    """A learner that writes its model in two files, and may be killed between them."""

    killed = False
    steps = 0

    def join(self, **_: object) -> None:
        """Nothing."""

    def sft(self, _: object, *, optimizer_steps: int, **__: object) -> LearnReport:
        self.steps = optimizer_steps
        numbers = {field.name: 1.0 for field in fields(LearnReport)}
        return LearnReport(**numbers)  # pyright: ignore[reportArgumentType]

    def export(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        if self.killed:
            raise KeyboardInterrupt
        (folder / "model.safetensors").write_text("weights")


@pytest.fixture
def learner(monkeypatch: pytest.MonkeyPatch) -> Exporting:
    started = Exporting()

    @contextmanager
    def reserved(*_: object, **__: object) -> Iterator[Exporting]:
        yield started

    monkeypatch.setattr(command, "ray_running", lambda _: nullcontext())
    monkeypatch.setattr(command, "resolve_model", lambda *_: "tiny")
    monkeypatch.setattr(command, "check_nodes", lambda *_, **__: None)
    monkeypatch.setattr(command, "ChatCodec", lambda _: CharCodec())
    monkeypatch.setattr(command, "with_packing", lambda learner, _: learner)
    monkeypatch.setattr(command, "reserved", reserved)
    return started


@cache
def defaults() -> WarmstartConfig:
    register()
    with initialize_config_dir(str(Path(__file__).parents[3] / "configs"), version_base="1.3"):
        values = compose("warmstart", overrides=["output=out", "epochs=2"])
    return build(WarmstartConfig, OmegaConf.to_container(values, resolve=True))  # pyright: ignore[reportArgumentType]


def trained(output: Path, **changes: Any) -> Path:
    config = replace(defaults(), output=str(output), env=CORRIDOR, **changes)
    plan = WarmstartPlan(config=config, world=open_world(config.env))
    return command.warmstart(plan, Display(Console(file=StringIO()))).model


def test_a_model_is_there_whole_or_not_at_all(tmp_path: Path, learner: Exporting) -> None:
    learner.killed = True
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path)
    assert not (tmp_path / "model").exists()
    learner.killed = False
    assert trained(tmp_path) == tmp_path / "model"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors"}


@pytest.mark.usefixtures("learner")
def test_passes_without_a_step_to_learn_from_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^mistakes=1\.0 leaves nothing to learn from: .*; lower mistakes, or raise"):
        trained(tmp_path, mistakes=1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("learner")
def test_a_file_without_a_step_to_learn_from_is_refused_in_one_line(tmp_path: Path) -> None:
    mistake = DemoStep(observation="at 1", action="fly", admissible=None, by_expert=False)
    write([Demo(task_id="1", seed=0, won=True, steps=(mistake,))], tmp_path / "demos.jsonl")
    with pytest.raises(ConfigError, match=r"demos\.jsonl holds no step of the expert: write the file with fewer"):
        trained(tmp_path / "out", demos=str(tmp_path / "demos.jsonl"))


@pytest.mark.parametrize(
    ("task", "what"),
    [("minecraft:oak log", r"no task of env\.train_split=\w+"), (None, r"a task of env\.validation_split=\w+")],
)
@pytest.mark.usefixtures("learner")
def test_demonstrations_of_other_tasks_than_training_tasks_are_refused(
    tmp_path: Path, task: str | None, what: str
) -> None:
    held_out = open_world(CORRIDOR).validation[0]
    right = DemoStep(observation="at 1", action="go", admissible=None, by_expert=True)
    write([Demo(task_id=task or held_out, seed=0, won=True, steps=(right,))], tmp_path / "demos.jsonl")
    with pytest.raises(ConfigError, match=rf"demos\.jsonl teaches '{task or held_out}', {what}: write the file with"):
        trained(tmp_path / "out", demos=str(tmp_path / "demos.jsonl"))
    assert not (tmp_path / "out").exists()


def test_an_epoch_takes_no_more_optimizer_steps_than_it_has_demonstrations(tmp_path: Path, learner: Exporting) -> None:
    trained(tmp_path / "out", rows_per_step=1, tasks=2)
    assert learner.steps == 2
