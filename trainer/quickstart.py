"""The whole way once: a tiny policy made from nothing, warm-started, trained, measured before and after, reported."""

from dataclasses import dataclass, replace
from pathlib import Path

from trainer.config import TrainConfig
from trainer.progress import Display
from trainer.report import write_report
from trainer.run import RunResult, train
from trainer.typed import ConfigError
from trainer.warmstart import WarmstartConfig, WarmstartResult, warmstart


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the warm start is done; see WarmstartConfig."""

    passes: int
    epochs: int
    rows_per_step: int
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickstartConfig(TrainConfig):
    """A training run with a warm start before it."""

    warmstart: Recipe


def quickstart(config: QuickstartConfig, display: Display) -> RunResult:
    """Warm start, train, write `report.html`. Raises ConfigError before any model loads."""
    output = Path(config.output).absolute()
    if (output / "train").exists() or (output / "warmstart").exists():
        raise ConfigError(f"{output} already holds a quickstart: remove it, or choose another with output=...")
    started = _warm_start(config, output, display)
    result = train(_training(config, output, started), display)
    report = write_report(output, config, started.losses, result)
    for line in report.table:
        display.line(line)
    display.line(f"report: {report.path}")
    return result


def _warm_start(config: QuickstartConfig, output: Path, display: Display) -> WarmstartResult:
    recipe = config.warmstart
    learner = replace(config.learner, learning_rate=recipe.learning_rate)
    return warmstart(
        WarmstartConfig(
            output=str(output / "warmstart"),
            model=config.model,
            env=config.env,
            learner=learner,
            cluster=config.cluster,
            passes=recipe.passes,
            epochs=recipe.epochs,
            rows_per_step=recipe.rows_per_step,
            seed=config.seed,
        ),
        display,
    )


def _training(config: QuickstartConfig, output: Path, started: WarmstartResult) -> TrainConfig:
    values = {name: getattr(config, name) for name in TrainConfig.__dataclass_fields__}
    source = replace(config.model, source=str(started.model))
    return TrainConfig(**{**values, "model": source, "output": str(output / "train")})
