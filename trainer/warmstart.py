"""Supervised fine-tuning on expert demonstrations, by the same learner."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from trainer import demos as demonstrations
from trainer.codec import ChatCodec
from trainer.config import ClusterConfig, EnvConfig, ModelConfig
from trainer.demos import Demo
from trainer.learner import Learner
from trainer.learner_config import LearnerConfig
from trainer.parts import ray_running
from trainer.progress import Display
from trainer.typed import ConfigError
from trainer.world import World, open_world, resolve_model


@dataclass(frozen=True, slots=True, kw_only=True)
class DemosConfig:
    """Where demonstrations go: `passes` over the training tasks, each pass with its own seeds."""

    output: str
    env: EnvConfig
    tasks: int | None = None
    passes: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmstartConfig:
    """demos: a file of `stepcredit demos`, or None to play the expert now. rows_per_step: steps per optimizer step."""

    output: str
    model: ModelConfig
    env: EnvConfig
    learner: LearnerConfig
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    demos: str | None = None
    tasks: int | None = None
    passes: int = 1
    epochs: int = 1
    rows_per_step: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("passes", "epochs", "rows_per_step"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: choose 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmstartResult:
    """model: the Hugging Face folder. losses: mean nats per response token, epoch by epoch."""

    model: Path
    losses: tuple[float, ...]


def write_demos(config: DemosConfig, display: Display) -> Path:
    """Play the expert on training tasks and write what it did. Raises ConfigError where it failed on any."""
    world = open_world(config.env)
    path = Path(config.output).absolute()
    played = play(world, tasks=config.tasks, passes=config.passes, seed=config.seed, display=display)
    demonstrations.write(played, path)
    display.line(f"{len(played)} demonstrations, {sum(len(demo.steps) for demo in played)} steps, in {path}")
    return path


def play(world: World, *, tasks: int | None, passes: int, seed: int, display: Display) -> list[Demo]:
    """Demonstrations of the first `tasks` training tasks, pass after pass. ConfigError where the expert fails."""
    task_ids = world.train[:tasks]
    played: list[Demo] = []
    with display.counting("demonstrations", passes * len(task_ids)) as bar:
        for number in range(passes):
            for demo in demonstrations.demonstrate(world.env, task_ids, seed=seed + number):
                if not demo.won:
                    raise ConfigError(f"the expert failed on {demo.task_id!r} (seed {demo.seed}): raise the step limit")
                played.append(demo)
                bar.advance()
    return played


def warmstart(config: WarmstartConfig, display: Display) -> WarmstartResult:
    """Train on demonstrations and export `output/model`. Raises ConfigError before any model loads."""
    output = Path(config.output).absolute()
    if (output / "model").exists():
        raise ConfigError(f"{output} already holds a model: choose another output folder")
    world = open_world(config.env)
    if config.demos is not None:
        played = demonstrations.read(Path(config.demos))
    else:
        played = play(world, tasks=config.tasks, passes=config.passes, seed=config.seed, display=display)
    output.mkdir(parents=True, exist_ok=True)
    with ray_running(config.cluster):
        model = resolve_model(config.model, world, config.env)
        batch = demonstrations.supervised(played, world.prompter, ChatCodec(model), history=config.env.history)
        steps = -(-batch.num_rows // config.rows_per_step)
        display.stage(f"warm start on {len(played)} demonstrations: {config.epochs} epochs of {steps} optimizer steps")
        # The demonstrations are the only teacher here: no reference model is loaded beside the policy.
        learner = Learner.start(replace(config.learner, loss=replace(config.learner.loss, kl_coef=0.0)), model)
        try:
            losses: list[float] = []
            with display.counting("epochs", config.epochs) as bar:
                for epoch in range(config.epochs):
                    report = learner.sft(batch, optimizer_steps=steps, seed=config.seed + epoch)
                    losses.append(report.loss)
                    display.line(f"epoch {epoch + 1}/{config.epochs}  loss {report.loss:.4f}")
                    bar.advance()
            learner.export(output / "model")
        finally:
            learner.close()
    return WarmstartResult(model=output / "model", losses=tuple(losses))
