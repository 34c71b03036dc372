"""The whole way once: make a tiny policy, warm-start it, train it, measure it before and after, write a report."""

from dataclasses import replace
from pathlib import Path

from trainer.commands.quickstart_page import write_report
from trainer.commands.warmstart import warmstart
from trainer.report.progress import Display
from trainer.run import RunResult, train
from trainer.setup.kept import keeping
from trainer.setup.preflight import QuickstartPlan, TrainingPlan


def quickstart(plan: QuickstartPlan, display: Display) -> RunResult:
    """Warm start, train, write `report.html`. Returns the result of the training run."""
    with keeping():
        warm = warmstart(plan.warmstart, display)
        result = train(_starting_from(warm.model, plan.training), display)
    output = Path(plan.config.output).absolute()
    for line in write_report(output, plan.config, warm.losses, result, plan.training.world.kind):
        display.line(line)
    return result


def _starting_from(model: Path, plan: TrainingPlan) -> TrainingPlan:
    """The same run with another model to start from."""
    config = plan.config
    return replace(plan, config=replace(config, model=replace(config.model, source=str(model))))
