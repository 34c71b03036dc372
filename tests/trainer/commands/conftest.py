"""The command in this process, in a folder of its own; plans are made, and what would run is recorded instead."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra._internal.hydra import Hydra

from rollout import ray_cluster
from trainer.cells import launch
from trainer.cells.cell import Cell, Outcome, State, cell_of, write_outcome
from trainer.cells.index import Index
from trainer.cells.site import LOOK_S, Running, end_each
from trainer.commands import compose
from trainer.commands.main import main
from trainer.commands.make_data import HouseholdsConfig, ReleaseConfig, ShopConfig
from trainer.commands.sweep_report import SweepReportConfig
from trainer.commands.table import COMMANDS, named
from trainer.config.commands import (
    DemosConfig,
    EvaluateConfig,
    PlanConfig,
    ProfileConfig,
    QuickstartConfig,
    TrainConfig,
    WarmstartConfig,
)
from trainer.config.compare import CompareConfig
from trainer.config.earlier import ForkConfig, ReplayConfig
from trainer.config.settings import EnvConfig
from trainer.config.showing import DoctorConfig, PanelConfig
from trainer.data.bad_batch import BadBatch
from trainer.data.tokens import Targets, TokenBatch
from trainer.evaluation import TaskResult
from trainer.inspect.config import InspectConfig
from trainer.inspect.truth_plan import MonteCarloConfig
from trainer.lab.config import LabConfig
from trainer.lab.learn.config import LearnConfig
from trainer.setup.preflight import settings_of
from trainer.tables.config import TableConfig

RUNS = {command.run for command in COMMANDS.values()}
JOIN = "trainer.lab.report.sweep:join"
SOUND = {
    "train": ("trainer.run:train", TrainConfig),
    "plan": ("trainer.commands.plan:show_plan", PlanConfig),
    "profile": ("trainer.commands.profile:profile", ProfileConfig),
    "doctor": ("trainer.commands.doctor:show_doctor", DoctorConfig),
    "panel": ("trainer.commands.panel:show_panels", PanelConfig),
    "evaluate": ("trainer.commands.evaluate:evaluate", EvaluateConfig),
    "compare": ("trainer.commands.compare:show_comparison", CompareConfig),
    "fork": ("trainer.run:train", ForkConfig),
    "replay": ("trainer.commands.replay:replay", ReplayConfig),
    "demos": ("trainer.commands.warmstart:write_demos", DemosConfig),
    "warmstart": ("trainer.commands.warmstart:warmstart", WarmstartConfig),
    "lab": ("trainer.lab.run:lab", LabConfig),
    "lab learn": ("trainer.lab.learn.run:learn", LearnConfig),
    "truth": ("trainer.inspect.truth:measure_truth", MonteCarloConfig),
    "inspect": ("trainer.inspect.run:inspect", InspectConfig),
    "table": ("trainer.commands.paper_table:run_table", TableConfig),
    "quickstart": ("trainer.commands.quickstart:quickstart", QuickstartConfig),
    "sweep-report": ("trainer.commands.sweep_report:show_sweep_report", SweepReportConfig),
    "data alfworld": ("trainer.commands.make_data:fetch_alfworld", ReleaseConfig),
    "data alfworld-generate": ("trainer.commands.make_data:generate_households", HouseholdsConfig),
    "data webshop-generate": ("trainer.commands.make_data:generate_shop", ShopConfig),
}

CORRIDOR = EnvConfig(
    world="corridor",
    _target_="tests.fakes:CORRIDOR",
    style="bare",
    history=6,
    train_split="test",
    validation_split="train",
)
"""The corridors of `tests.fakes`, four tasks to learn from and to be measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@dataclass(slots=True)
class Noted:
    """A cell that ended as soon as it was started, in the state that the test chose for it."""

    cell: Cell
    state: State

    def outcome(self) -> Outcome:
        ended = Outcome(
            cell=self.cell, state=self.state, line="" if self.state == State.FINISHED else "it did not like it"
        )
        write_outcome(ended)
        return ended

    def end(self, state: State, line: str = "") -> None:
        raise AssertionError(f"{self.cell.title} has ended already")


@dataclass(slots=True)
class NotingSite:
    """A place that notes the cells of a sweep in the place of running them."""

    parallel: int | None = None
    look_s: float = LOOK_S
    cells: list[Cell] = field(default_factory=list)
    """Those that were started and are not replayed yet."""
    states: dict[str, State] = field(default_factory=dict)
    """How a cell ends, by its title; the others finish."""

    def check(self, cell: Cell) -> None:
        del cell

    def end_all(self, running: Sequence[Running]) -> None:
        end_each(running)

    def close(self) -> None:
        """Nothing."""

    def start(self, cell: Cell) -> Noted:
        self.cells.append(cell)
        if cell.writes == "folder":
            cell.folder.mkdir(parents=True, exist_ok=True)
        return Noted(cell, self.states.get(cell.title, State.FINISHED))


@dataclass(slots=True, kw_only=True)
class Stepcredit:
    """Calls `stepcredit WORDS`. The cells of a sweep are called after it, in this process."""

    words: Callable[..., None]
    capsys: pytest.CaptureFixture[str]
    runs: list[tuple[str, Any]] = field(default_factory=list)
    """("module:function", config) of every command that would have run."""
    plans: list[Any] = field(default_factory=list)
    """The plans of those commands."""
    site: NotingSite = field(default_factory=NotingSite)
    """Where the cells of a sweep go first."""

    def __call__(self, *words: str) -> Ended:
        ended = self.call(*words)
        while self.site.cells:
            self.call(*self.site.cells.pop(0).call)
        return ended

    def call(self, *words: str) -> Ended:
        """The command alone, without the cells that it starts."""
        self.words("stepcredit", *words)
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = self.capsys.readouterr()
        return Ended(code=code, out=out, err=err)

    def named(self, path: str) -> Callable[..., Any]:
        """As `table.named`, but what runs is recorded."""
        if path == JOIN:
            return lambda folder, _: self.runs.append((path, folder))
        if path not in RUNS:
            return named(path)

        def record(plan: Any, _: object) -> None:
            self.plans.append(plan)
            self.runs.append((path, plan.config))

        return record


def sweep_folder(folder: Path) -> Path:
    """Two estimators and two group sizes, two seeds of each; one cell refused, one without a validation."""
    numbers = {("grpo", 4): (0.25, 0.5), ("grpo", 8): (0.5, None), ("gigpo", 4): (0.75, 0.5), ("gigpo", 8): (0.75, 1.0)}
    index = Index(folder, [])
    for (estimator, size), successes in numbers.items():
        for seed, success in enumerate(successes):
            words = [f"estimator={estimator}", f"group_size={size}", f"seed={seed}", "updates=3"]
            cell = cell_of("train", words, folder)
            was_refused = (estimator, size, seed) == ("grpo", 4, 1)
            cell.folder.mkdir(parents=True)
            rows = [{"update": 1, "validation/success": 0.125}, {"update": 2}]
            rows += [] if success is None else [{"update": 3, "validation/success": success}]
            if success is not None:
                (cell.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            index.changed(Outcome(cell=cell, state=State.REFUSED if was_refused else State.FINISHED))
    return folder


@pytest.fixture
def stepcredit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stepcredit:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # `execute` sets it; here it is taken back
    # Hydra composes all settings once more, only to read hydra.mode, which nothing here sets.
    monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)
    command = Stepcredit(words=lambda *words: monkeypatch.setattr(sys, "argv", list(words)), capsys=capsys)
    monkeypatch.setattr(compose, "named", command.named)
    monkeypatch.setattr(launch, "site_of", lambda *_: command.site)
    return command


@pytest.fixture
def carried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stepcredit:
    """As `stepcredit`, but what a command does is done, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    return Stepcredit(words=lambda *words: monkeypatch.setattr(sys, "argv", list(words)), capsys=capsys)


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray_cluster, "start", refuse)


def refused(stepcredit: Stepcredit, *words: str) -> str:
    """The line that `stepcredit WORDS` is refused with, everything else about a refusal checked."""
    before = tree(Path.cwd())
    ended = stepcredit(*words)
    assert ended.code == 2
    assert ended.line.startswith("stepcredit: ")
    assert stepcredit.runs == []
    assert tree(Path.cwd()) == before
    return ended.line


def evaluation_folder(folder: Path, *wins: int, samples: int = 1) -> None:
    """What `stepcredit evaluate` leaves of so many tasks, of which every second one is odd."""
    folder.mkdir(parents=True)
    tasks = [
        TaskResult(
            task_id=str(number),
            kind="odd" if number % 2 else "even",
            wins=won,
            samples=samples,
            lost=0,
            score=won / samples,
        )
        for number, won in enumerate(wins)
    ]
    panel = {"world": "corridor", "split": "test", "digest": "0123456789abcdef" * 4, "tasks": len(wins)}
    (folder / "evaluation.json").write_text(json.dumps({"panel": panel, "tasks": list(map(asdict, tasks))}))
    settings = {"model": {"source": folder.name}, "output": str(folder), "samples": samples}
    (folder / "config.json").write_text(json.dumps(settings))


def past_run(stepcredit: Stepcredit, output: Path, *words: str, update: int = 25) -> TrainConfig:
    """The folder that `stepcredit train WORDS` leaves, without weights: its config, a checkpoint and a bad batch."""
    stepcredit("train", f"output={output}", *words)
    stepcredit.plans.pop()
    _, config = stepcredit.runs.pop()
    folder = output / "checkpoints" / f"update-{update:06d}"
    (folder / "model").mkdir(parents=True)
    (output / "config.json").write_text(json.dumps(asdict(config), default=str))
    state = {"update": update, "settings": settings_of(config), "estimator": dict(config.estimator), "tracking": "a1b2"}
    (folder / "state.json").write_text(json.dumps(state))
    (output / "checkpoints" / "latest").write_text(folder.name)
    bad_batch(update + 1, folder.name).write(output)
    return config


def bad_batch(update: int, checkpoint: str | None) -> BadBatch:
    """Two rows of one token each."""
    ids = [np.array([1], np.int32)] * 2
    zeros = np.zeros(2, np.float32)
    return BadBatch(
        update=update,
        seed=0,
        checkpoint=checkpoint,
        tokens=TokenBatch.from_rows(ids, ids, trajectory=[0, 0], time=[0, 1]),
        targets=Targets(advantage=zeros, row_mask=np.ones(2, np.bool_), old_logprobs=zeros, ref_logprobs=zeros),
    )
