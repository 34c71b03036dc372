"""A training run: validate, update, checkpoint, log; and go on where another stopped."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from estimators import Estimator
from rollout.record import write_groups
from rollout.types import Trajectory
from trainer import checkpoint
from trainer.checkpoint import RunState
from trainer.config.commands import TrainConfig
from trainer.evaluation import Evaluation, evaluation, play_held_out
from trainer.metrics import evaluation_numbers, update_numbers
from trainer.report.metric_log import MetricLog
from trainer.report.progress import Display
from trainer.setup.parts import Parts, assembled
from trainer.setup.preflight import TrainingPlan, estimator_of, plan_training, settings_of
from trainer.step import UpdateReport, publish, update


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Validations by update, in order; 0 is before the first. model: the last checkpoint's Hugging Face folder."""

    validations: tuple[tuple[int, Evaluation], ...]
    model: Path


def train(config: TrainConfig, display: Display) -> RunResult:
    """Run all updates. Raises ConfigError before any model loads, for whatever can be known by then."""
    output = Path(config.output).absolute()
    plan = plan_training(config)
    output.mkdir(parents=True, exist_ok=True)
    if leaked := plan.world.leaked:
        display.stage(
            f"this split leaks: {len(leaked)} of {len(plan.world.validation)} validation tasks are trained on"
        )
    with assembled(config, plan.world, display) as parts:
        (output / "config.json").write_text(json.dumps(asdict(config), indent=1, default=str))
        run = _Run(config, output, parts, plan, display)
        try:
            return run.all_updates()
        finally:
            run.log.close()


class _Run:
    """The loop's own state: the estimator as it stands, the log, what was validated."""

    def __init__(self, config: TrainConfig, output: Path, parts: Parts, plan: TrainingPlan, display: Display) -> None:
        self.config, self.output, self.parts, self.display = config, output, parts, display
        self.estimator = plan.estimator
        self.done = 0
        self.validations: list[tuple[int, Evaluation]] = []
        resumed_at = tracking = None
        if plan.resumed is not None:
            folder, state = plan.resumed
            self.done = resumed_at = state.update
            tracking = state.tracking
            self.estimator = estimator_of(replace(config, estimator=state.estimator))
            parts.learner.load(folder / "learner")
            display.stage(f"resumed after update {self.done} from {folder.name}")
        self.log = MetricLog(output, config.log, settings=settings_of(config), resumed_at=resumed_at, tracking=tracking)

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
            settings=settings_of(self.config),
            estimator=_estimator_options(self.config, self.estimator),
            tracking=self.log.tracking,
        )
        return checkpoint.save(self.output, self.parts.learner, state, keep=self.config.checkpoint.keep)

    def _due(self, number: int, every: int) -> bool:
        return number % every == 0 or number == self.config.updates


def _estimator_options(config: TrainConfig, estimator: Estimator) -> dict[str, Any]:
    """The configured options, with what the estimator calibrated meanwhile."""
    return {key: getattr(estimator, key, value) for key, value in config.estimator.items()} | {
        "name": config.estimator["name"]
    }


def _advance(advance: Callable[[], None]) -> Callable[[Trajectory], None]:
    return lambda _: advance()
