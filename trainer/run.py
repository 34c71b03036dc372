"""A training run: validate, update, checkpoint, log; and go on where another stopped."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from estimators import Estimator
from estimators.base import group_based
from rollout.record import write_groups
from rollout.types import Trajectory
from trainer import checkpoint
from trainer.checkpoint import RunState
from trainer.config import TrainConfig
from trainer.evaluation import Evaluation, evaluation
from trainer.logs import MetricLog
from trainer.measure import play_held_out
from trainer.metrics import evaluation_numbers, update_numbers
from trainer.parts import Parts, assembled, estimator_of
from trainer.progress import Display
from trainer.step import UpdateReport, publish, update
from trainer.typed import ConfigError
from trainer.world import open_world

# What may differ between a run and its continuation: where and how far it runs, and how much it tells.
FREE_SETTINGS = ("output", "updates", "resume", "cluster", "log", "checkpoint", "validation", "record", "engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Validations by update, in order; 0 is before the first. model: the last checkpoint's Hugging Face folder."""

    validations: tuple[tuple[int, Evaluation], ...]
    model: Path


def train(config: TrainConfig, display: Display) -> RunResult:
    """Run all updates. Raises ConfigError before any model loads, for whatever can be known by then."""
    output = Path(config.output).absolute()
    world = open_world(config.env)
    estimator = estimator_of(config)
    if config.group_size == 1 and group_based(estimator):
        raise ConfigError(
            f"group_size=1 with estimator.name={config.estimator['name']!r}, which compares the rollouts of a group: "
            "set group_size to 2 or more"
        )
    resumed = _resumable(config, output)
    output.mkdir(parents=True, exist_ok=True)
    with assembled(config, world, display) as parts:
        (output / "config.json").write_text(json.dumps(asdict(config), indent=1, default=str))
        run = _Run(config, output, parts, estimator, display, resumed)
        try:
            return run.all_updates()
        finally:
            run.log.close()


class _Run:
    """The loop's own state: the estimator as it stands, the log, what was validated."""

    def __init__(
        self,
        config: TrainConfig,
        output: Path,
        parts: Parts,
        estimator: Estimator,
        display: Display,
        resumed: tuple[Path, RunState] | None,
    ) -> None:
        self.config, self.output, self.parts, self.display = config, output, parts, display
        self.estimator = estimator
        self.done = 0
        self.validations: list[tuple[int, Evaluation]] = []
        tracking = None
        if resumed is not None:
            folder, state = resumed
            self.done, tracking = state.update, state.tracking
            self.estimator = estimator_of(replace(config, estimator=state.estimator))
            parts.learner.load(folder / "learner")
            display.stage(f"resumed after update {self.done} from {folder.name}")
        self.log = MetricLog(output, config.log, settings=_settings(config), resumed_at=self.done, tracking=tracking)

    def all_updates(self) -> RunResult:
        publish(self.parts, self.done)
        if self.done == 0:
            self._validate(0)
        model = self.output / checkpoint.FOLDER / f"update-{self.done:06d}" / "model"
        with self.display.counting("updates", self.config.updates - self.done) as bar:
            for number in range(self.done + 1, self.config.updates + 1):
                report = self._update(number)
                self._log(report)
                if self._due(number, self.config.checkpoint.every):
                    model = self._save(number) / "model"
                bar.advance()
        return RunResult(validations=tuple(self.validations), model=model)

    def _update(self, number: int) -> UpdateReport:
        rollouts = self.config.groups_per_update * self.config.group_size
        with self.display.counting(f"rollouts of update {number}", rollouts) as bar:
            report = update(self.parts, self.estimator, number, on_done=_advance(bar.advance))
        self.estimator = report.estimator
        self.done = number
        return report

    def _log(self, report: UpdateReport) -> None:
        numbers = update_numbers(report)
        if self._due(report.number, self.config.validation.every):
            numbers |= evaluation_numbers(self._validate(report.number))
        self.log.write(report.number, numbers)
        self._record(report)
        self.display.line(
            f"update {report.number}/{self.config.updates}  success {100 * numbers['rollout/success']:5.1f} %  "
            f"steps {numbers['rollout/steps']:4.1f}  invalid {100 * numbers['rollout/invalid']:4.1f} %  "
            f"kl {numbers['learn/kl']:.4f}  entropy {numbers['learn/entropy']:.3f}  "
            f"{sum(report.seconds.values()):.1f} s"
        )

    def _validate(self, number: int) -> Evaluation:
        config, parts = self.config, self.parts
        collected = play_held_out(
            parts.collector,
            parts.world,
            count=config.validation.tasks,
            sampling=config.validation_sampling,
            seed=config.seed,
            display=self.display,
        )
        found = evaluation(collected.groups, parts.world.kind)
        self.validations.append((number, found))
        self.display.line(f"[bold]validation after update {number}[/bold]  success {found.overall}")
        if number == 0:
            self.log.write(0, evaluation_numbers(found))
        return found

    def _record(self, report: UpdateReport) -> None:
        if self.config.record == "none":
            return
        folder = self.output / "rollouts"
        write_groups(folder / f"update-{report.number:06d}.jsonl.zst", report.collected.groups)
        if self.config.record == "embeddings" and report.scores.embedding is not None:
            np.save(folder / f"update-{report.number:06d}.embeddings.npy", report.scores.embedding)

    def _save(self, number: int) -> Path:
        state = RunState(
            update=number,
            settings=_settings(self.config),
            estimator=_estimator_options(self.config, self.estimator),
            tracking=self.log.tracking,
        )
        return checkpoint.save(self.output, self.parts.learner, state, keep=self.config.checkpoint.keep)

    def _due(self, number: int, every: int) -> bool:
        return number % every == 0 or number == self.config.updates


def _resumable(config: TrainConfig, output: Path) -> tuple[Path, RunState] | None:
    """The checkpoint to go on from, checked; None for a fresh start."""
    folder = checkpoint.latest(output)
    if config.resume == "never":
        if folder is not None:
            raise ConfigError(f"{output} already holds a run: go on with resume=auto, or choose another output folder")
        return None
    if folder is None:
        return None
    state = checkpoint.read_state(folder)
    checkpoint.check_same_run(state, _settings(config), folder)
    if state.update >= config.updates:
        raise ConfigError(f"updates={config.updates}, but {folder} has done {state.update}: raise updates to go on")
    return folder, state


def _settings(config: TrainConfig) -> dict[str, Any]:
    """What makes a run the run it is, as plain JSON values."""
    plain = json.loads(json.dumps(asdict(config), default=str))
    return {key: value for key, value in plain.items() if key not in FREE_SETTINGS}


def _estimator_options(config: TrainConfig, estimator: Estimator) -> dict[str, Any]:
    """The configured options, with what the estimator calibrated meanwhile."""
    return {key: getattr(estimator, key, value) for key, value in config.estimator.items()} | {
        "name": config.estimator["name"]
    }


def _advance(advance: Callable[[], None]) -> Callable[[Trajectory], None]:
    return lambda _: advance()
