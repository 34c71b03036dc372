"""The whole way once: a tiny policy made from nothing, warm-started, trained, measured before and after, reported."""

from dataclasses import replace
from pathlib import Path

from trainer.commands.quickstart_page import write_report
from trainer.commands.warmstart import WarmstartResult, warmstart
from trainer.config.commands import QuickstartConfig, TrainConfig, WarmstartConfig
from trainer.report.progress import Display
from trainer.run import RunResult, train
from trainer.setup.preflight import plan_quickstart


def quickstart(config: QuickstartConfig, display: Display) -> RunResult:
    """Warm start, train, write `report.html`. Raises ConfigError before any model loads."""
    output = Path(config.output).absolute()
    world = plan_quickstart(config).world
    started = _warm_start(config, output, display)
    result = train(_training(config, output, started), display)
    for line in write_report(output, config, started.losses, result, world.kind):
        display.line(line)
    return result


def _warm_start(config: QuickstartConfig, output: Path, display: Display) -> WarmstartResult:
    settings = config.warmstart
    # decay_steps counts the steps of the run, not these.
    learner = replace(config.learner, learning_rate=settings.learning_rate, decay_steps=None)
    return warmstart(
        WarmstartConfig(
            output=str(output / "warmstart"),
            model=config.model,
            env=config.env,
            learner=learner,
            cluster=config.cluster,
            passes=settings.passes,
            mistakes=settings.mistakes,
            epochs=settings.epochs,
            rows_per_step=settings.rows_per_step,
            seed=config.seed,
        ),
        display,
    )


def _training(config: QuickstartConfig, output: Path, started: WarmstartResult) -> TrainConfig:
    values = {name: getattr(config, name) for name in TrainConfig.__dataclass_fields__}
    source = replace(config.model, source=str(started.model))
    return TrainConfig(**{**values, "model": source, "output": str(output / "train")})
