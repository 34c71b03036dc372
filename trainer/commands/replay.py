"""Run an update again whose gradient was not finite, by the learner alone, and say where it comes from."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from trainer.learner.driver import Learner
from trainer.learner.messages import BrokenRow, ReplayedStep
from trainer.report.progress import Display
from trainer.setup.packing import with_packing
from trainer.setup.parts import ray_running
from trainer.setup.past_run import ReplayPlan
from trainer.setup.resolve import resolve_model

MOST_ROWS = 5  # of one optimizer step that are told one by one


def replay(plan: ReplayPlan, display: Display) -> tuple[ReplayedStep, ...]:
    """Take the update's optimizer steps and tell each in a line, with its rows that are not finite. Writes nothing."""
    batch = plan.batch
    with _learner(plan, display) as learner:
        display.stage(f"update {batch.update} again, {_beginning(plan)}")
        steps: list[ReplayedStep] = []
        with display.doing("learn"):
            for step in learner.replay(batch.tokens, batch.targets, seed=batch.seed):
                steps.append(step)
                _tell(plan, len(steps), step, display)
    display.line(_conclusion(plan, steps))
    return tuple(steps)


@contextmanager
def _learner(plan: ReplayPlan, display: Display) -> Iterator[Learner]:
    """The run's learner as it was at the start of the replay."""
    run = plan.run
    with ray_running(run.cluster):
        model = resolve_model(run.model, plan.world, run.env)
        with display.doing("starting the learner"):
            learner = Learner.start(
                with_packing(run.learner, model),
                model,
                critic=plan.batch.targets.critic,
                timeout_s=run.cluster.start_timeout_s,
            )
        with closing(learner):
            if plan.start is not None:
                learner.load(plan.start)
            yield learner


def _beginning(plan: ReplayPlan) -> str:
    """Which weights the replay begins with, and what they lack."""
    weights = "from the run's start" if plan.start is None else f"from {plan.start.name}"
    return f"{weights}, without the {plan.between} updates between" if plan.between else weights


def _tell(plan: ReplayPlan, number: int, step: ReplayedStep, display: Display) -> None:
    """The lines of one optimizer step."""
    end = f"; skipped, {len(step.broken)} of them not finite alone" if step.skipped else ""
    display.line(f"step {number}  loss {step.loss:.4g}  gradient norm {step.grad_norm:.4g}  rows {len(step.rows)}{end}")
    for row in step.broken[:MOST_ROWS]:
        display.line(f"  {_row_words(plan, row)}")
    if len(step.broken) > MOST_ROWS:
        display.line(f"  and {len(step.broken) - MOST_ROWS} more rows")


def _row_words(plan: ReplayPlan, broken: BrokenRow) -> str:
    tokens, targets = plan.batch.tokens, plan.batch.targets
    where = f"row {broken.row} (trajectory {tokens.trajectory[broken.row]}, turn {tokens.time[broken.row]})"
    parameter = "" if broken.parameter is None else f", first in the gradient of {broken.parameter}"
    return (
        f"{where}: loss {broken.loss:.4g}, advantage {targets.advantage[broken.row]:.4g}, largest |log ratio| "
        f"{broken.log_ratio:.4g}{parameter}"
    )


def _conclusion(plan: ReplayPlan, steps: list[ReplayedStep]) -> str:
    """What the steps say about the cause."""
    skipped = [step for step in steps if step.skipped]
    first = next((row for step in skipped for row in step.broken), None)
    if first is not None:
        return f"first not finite: {_row_words(plan, first)}"
    if skipped:
        return "every row alone is finite, their sum in a step is not: it is too large for learner.dtype"
    if not plan.between:
        return "every step is finite: the failure did not come again"
    fork = "a new run with" if plan.start is None else f"stepcredit fork {plan.start.parents[1]} update={plan.done}"
    return (
        f"every step is finite with these weights, so those of the {plan.between} updates between were the cause: take "
        f"{fork} learner.learning_rate=..."
    )
