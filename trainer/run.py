"""A training run: validate, update, checkpoint, log; and continue where an earlier run stopped."""

import json
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence, Set
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.text import Text

from estimators import Estimator, needs
from rollout.ray_actors import ActorDied, ActorTimeout
from trainer import checkpoint
from trainer.checkpoint import RunState
from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig
from trainer.config.continuing import plain
from trainer.data.difficulty import Difficulty
from trainer.data.recording import drop_after, write_recording
from trainer.data.rows import RowTable
from trainer.durable import write_whole
from trainer.evaluation import Evaluation, evaluation, lost_words, play_held_out
from trainer.gather import Ahead
from trainer.learner.driver import OutOfMemory
from trainer.metrics import checkpoint_numbers, evaluation_numbers, update_numbers
from trainer.report.labels import labelled
from trainer.report.metric_log import MetricLog
from trainer.report.progress import Display
from trainer.report.shown import shown
from trainer.report.stopwatch import Stopwatch
from trainer.report.update_line import UpdateLines
from trainer.report.validations import write_validation
from trainer.saver import CheckpointFailed, Saver
from trainer.setup.conditions import FILE as CONDITIONS
from trainer.setup.conditions import conditions, conditions_lines
from trainer.setup.credit import estimator_of
from trainer.setup.kept import LearnerLost, keeping
from trainer.setup.mfu import Arithmetic
from trainer.setup.panels import write_panel
from trainer.setup.parts import Parts, assembled
from trainer.setup.past_run import check_checkpoint
from trainer.setup.preflight import CONFIG, TrainingPlan, going_on, settings_of
from trainer.step import Beside, UpdateReport, publish, update

LOST = (ActorDied, ActorTimeout, OutOfMemory)
"""Raised where a rank of the learner is gone, hangs, or has no memory left. Engines are replaced before it comes to
this."""


class UpdateLost(LearnerLost):
    """An update that cannot be finished with the learner as it is."""

    def __init__(self, update: int, cause: Exception, validations: Sequence[tuple[int, Evaluation]]) -> None:
        super().__init__(f"update {update}: {cause}")
        self.update, self.cause, self.validations = update, cause, validations


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a finished run leaves."""

    validations: tuple[tuple[int, Evaluation], ...]
    """(update, evaluation) in order; update 0 is the validation before the first update."""

    model: Path
    """The Hugging Face folder of the last update."""


def train(plan: TrainingPlan, display: Display) -> RunResult:
    """Run all updates. Raises ConfigError before any weights load where the model or its prompts do not fit.

    Where the learner is lost, it is started again from the last checkpoint, with any other part that does not answer;
    what came after the checkpoint is repeated with the same tasks and seeds. An update that is lost twice ends the run
    with the reason.
    """
    config, world = plan.config, plan.world
    output = Path(config.output).absolute()
    output.mkdir(parents=True, exist_ok=True)
    if world.leaked:
        display.stage(
            f"this split leaks: {len(world.leaked)} of {len(world.validation)} validation tasks are trained on"
        )
    if copies := plan.trained_copies:
        display.stage(f"{len(copies)} validation tasks are trained on under another id, {copies[0]!r} the first")
    _state_conditions(plan, output, display)
    with keeping():
        return _from_checkpoints(plan, output, display)


def _from_checkpoints(plan: TrainingPlan, output: Path, display: Display) -> RunResult:
    """Run on, from checkpoint to checkpoint where the learner is lost."""
    validations: list[tuple[int, Evaluation]] = []
    lost_before: set[int] = set()
    while True:
        try:
            return _from_checkpoint(plan, output, display, validations, lost_before)
        except UpdateLost as lost:
            if lost.update in lost_before:
                raise lost.cause from lost
            lost_before.add(lost.update)
            if _is_written(output, plan.config.updates):
                model = checkpoint.export_of(output, plan.config.updates)
                return RunResult(validations=tuple(lost.validations), model=model)
            plan = going_on(plan)
            display.stage(f"update {lost.update} was lost: {lost.cause}")
            # What is played again is measured again.
            validations = [one for one in lost.validations if plan.resumed is not None and one[0] <= plan.start]


def _is_written(output: Path, updates: int) -> bool:
    """Whether the last checkpoint is there, though the learner was lost while the run waited for it."""
    newest = checkpoint.named(output)
    return newest is not None and checkpoint.update_of(newest) == updates


def _state_conditions(plan: TrainingPlan, output: Path, display: Display) -> None:
    """Print and write what the validations are of, and where the run is not the published protocol."""
    record = conditions(plan.config, plan.world, plan.panel, plan.config.validation.temperature)
    for line in conditions_lines(record):
        display.line(line)
    if plan.other_panel is not None:
        display.stage(f"validation goes on with other tasks than before: {plan.other_panel}")
    if plan.panel is not None:
        write_panel(output, plan.panel)
    write_whole(output / CONDITIONS, json.dumps(record, indent=1))


def _from_checkpoint(
    plan: TrainingPlan,
    output: Path,
    display: Display,
    validations: Sequence[tuple[int, Evaluation]],
    lost_before: Set[int],
) -> RunResult:
    """Start the parts and run the updates that are left. Raises UpdateLost."""
    checkpoint.sweep(output)
    with assembled(plan.config, plan.world, display) as parts:
        write_whole(output / CONFIG, json.dumps(plain(plan.config), indent=1))
        estimator = _resume(plan, parts, display)
        drop_after(output, plan.start)
        with (
            closing(_open_log(plan, output)) as log,
            closing(Saver(output, parts.learner, keep=plan.config.checkpoint.keep)) as saver,
            closing(TrainingRun(plan, output, parts, estimator, log, display, saver, validations, lost_before)) as run,
        ):
            for note in log.notes:
                display.stage(note)
            return run.all_updates()


def _resume(plan: TrainingPlan, parts: Parts, display: Display) -> Estimator:
    """Load the checkpoint's weights, if there is one. Returns the estimator to begin with."""
    if plan.resumed is None:
        return plan.estimator
    folder, state = plan.resumed
    for fault in plan.damaged:
        display.stage(fault)
    if plan.resumed == plan.origin:
        check_checkpoint(folder, "this fork, which has no checkpoint of its own yet, begins with it")
    converted_in = Path(plan.config.output).absolute() / checkpoint.FOLDER
    before, now = parts.learner.load(folder, converted_in=converted_in), plan.config.learner.world_size
    converted = "" if before == now else f", written by {before} learner ranks and converted for {now}"
    whose = folder.name if plan.resumed != plan.origin else str(folder)
    display.stage(f"resumed after update {state.update} from {whose}{converted}")
    if plan.changed:
        display.stage(f"other settings than before, harmless ones: {plan.changed}")
    return estimator_of(replace(plan.config, estimator=state.estimator))


def _open_log(plan: TrainingPlan, output: Path) -> MetricLog:
    """The run's log; a resumed run continues the one that is there."""
    resumed_at = tracking = None
    if plan.resumed is not None:
        _, state = plan.resumed
        resumed_at, tracking = state.update, state.tracking
    return MetricLog(
        output, labelled(plan.config), settings=plain(plan.config), resumed_at=resumed_at, tracking=tracking
    )


class TrainingRun:
    """The loop of a run and its state: the last finished update, the estimator after it, the validations so far."""

    def __init__(
        self,
        plan: TrainingPlan,
        output: Path,
        parts: Parts,
        estimator: Estimator,
        log: MetricLog,
        display: Display,
        saver: Saver,
        validations: Sequence[tuple[int, Evaluation]],
        lost_before: Set[int],
    ) -> None:
        """validations: those before the checkpoint. lost_before: updates that were lost before and are repeated."""
        self.config, self.output, self.parts, self.log, self.display = plan.config, output, parts, log, display
        self.saver, self.estimator, self.finished = saver, estimator, plan.start
        self.difficulty = Difficulty() if plan.resumed is None else Difficulty(plan.resumed[1].seen)
        self.validations, self.lost_before = list(validations), lost_before
        self.ahead = Ahead() if plan.config.ahead else None
        self._arithmetic = Arithmetic.of(self.config)
        self._lines = UpdateLines(plan.start, self.config.updates)

    def close(self) -> None:
        """End the rollouts that are being played ahead."""
        if self.ahead is not None:
            self.ahead.close()

    @contextmanager
    def _losing(self, number: int) -> Generator[None]:
        """Raise UpdateLost of this update where the learner is lost."""
        try:
            yield
        except LOST as error:
            raise UpdateLost(number, error, self.validations) from error

    def all_updates(self) -> RunResult:
        """Publish the weights, then run every update that is left; validations come as `validation.every` says."""
        with self._losing(self.finished + 1), self.display.doing("publish"):
            publish(self.parts, self.finished)
        if self.finished == 0 and self.config.validation.every is not None:
            self.log.write(0, self._validation_numbers(0))
        with self.display.counting("updates", self.config.updates - self.finished) as bar:
            for number in range(self.finished + 1, self.config.updates + 1):
                with self._losing(number):
                    report = self._update(number)
                    self.saver.check()
                    self._log(report)
                    if self._saves(number):
                        self._save(number)
                bar.advance()
        model = checkpoint.export_of(self.output, self.finished)
        return RunResult(validations=tuple(self.validations), model=model)

    def _update(self, number: int) -> UpdateReport:
        groups = self.config.max_groups_tried or self.config.groups_per_update  # at most
        rollouts = groups * self.config.group_size
        with self.display.counting(f"rollouts of update {number}", rollouts) as bar:
            watch = Stopwatch(during=self.display.doing)
            report = update(
                self.parts,
                self.estimator,
                number,
                on_done=lambda _: bar.advance(),
                watch=watch,
                difficulty=self.difficulty,
                beside=Beside(ahead=self.ahead, drained=self._saves(number), last_checkpoint=self._last_checkpoint),
            )
        report = replace(report, restarts=int(number in self.lost_before))
        self.estimator, self.difficulty = report.estimator, report.difficulty
        self.finished = number
        return report

    def _log(self, report: UpdateReport) -> None:
        numbers = update_numbers(report, self._arithmetic) | checkpoint_numbers(self.saver.take())
        every = self.config.validation.every
        if every is not None and self._due(report.number, every):
            numbers |= self._validation_numbers(report.number)
        self.log.write(report.number, numbers)
        self._record(report)
        if lost := Counter(group.reason for group in report.collected.counts.dropped):
            self.display.line(f"update {report.number}{lost_words(lost)}, of {self.config.groups_per_update} groups")
        for line in self._lines.lines(report.number, numbers, report.seconds):
            self.display.line(line)

    def _validation_numbers(self, number: int) -> Mapping[str, float]:
        began = time.perf_counter()
        numbers = evaluation_numbers(self._validate(number))
        return {**numbers, "seconds/validate": time.perf_counter() - began}

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
        result = evaluation(collected, parts.world.kind)
        self.validations.append((number, result))
        write_validation(self.output, number, {task.task_id: (task.wins > 0, task.score) for task in result.tasks})
        self.log.show(number, shown(result.rollouts_of(config.log.trajectories)))
        self.display.line(Text.assemble((f"validation after update {number}", "bold"), f"  success {result}"))
        return result

    def _record(self, report: UpdateReport) -> None:
        if self.config.record == "none":
            return
        scores, rows = report.scores, RowTable(report.collected.groups)  # those of retries come after them, and go
        tokens = int(rows.response_lens.sum())
        kept = {
            "embeddings": (scores.embedding if self.config.record == "embeddings" else None, len(rows)),
            "logprobs": (scores.logprobs, tokens),
            "values": (scores.values, tokens if needs(report.estimator).critic == "token" else len(rows)),
        }
        arrays = {name: array[:length] for name, (array, length) in kept.items() if array is not None}
        write_recording(self.output, report.number, report.collected.groups, arrays)

    def _save(self, number: int) -> None:
        state = RunState(
            update=number,
            settings=settings_of(self.config),
            estimator=_estimator_options(self.config, self.estimator),
            tracking=self.log.tracking,
            seen=dict(self.difficulty.seen) if self.config.task_choice == "difficulty" else {},
        )
        with self.display.doing("checkpoint"):
            self.saver.start(state, export=self._due(number, self.config.checkpoint.export_every))
            if number == self.config.updates:
                self.saver.wait()

    def _last_checkpoint(self) -> str | None:
        """The name of the last checkpoint, once it is written."""
        with suppress(CheckpointFailed):  # the batch matters more, and the checkpoint before is named
            self.saver.wait()
        with suppress(ConfigError):  # all are damaged: the batch matters more here too
            if (newest := checkpoint.undamaged(self.output)) is not None:
                return newest[0].name
        return None

    def _saves(self, number: int) -> bool:
        checkpoints = self.config.checkpoint
        return self._due(number, checkpoints.every) or self._due(number, checkpoints.export_every)

    def _due(self, number: int, every: int) -> bool:
        return number % every == 0 or number == self.config.updates


def _estimator_options(config: TrainConfig, estimator: Estimator) -> dict[str, Any]:
    """The options of the config, with the values that the estimator has calibrated since."""
    return {key: getattr(estimator, key, value) for key, value in config.estimator.items()} | {
        "name": config.estimator["name"]
    }
