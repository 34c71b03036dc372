"""Supervised fine-tuning on expert demonstrations, by the same learner."""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path

import numpy as np

from trainer.config.build import ConfigError
from trainer.config.commands import DemosConfig, WarmstartConfig
from trainer.data import demos as demonstrations
from trainer.data.codec import ChatCodec
from trainer.data.demos import Demo
from trainer.data.revisions import revising
from trainer.data.supervised import Supervised, expert_steps, supervised
from trainer.durable import sync, sync_all
from trainer.learner.driver import Learner
from trainer.report.progress import Display
from trainer.setup.nodes import check_nodes
from trainer.setup.packing import with_packing
from trainer.setup.parts import ray_running, reserved
from trainer.setup.positions import check_positions
from trainer.setup.preflight import DemosPlan, WarmstartPlan
from trainer.setup.resolve import resolve_model
from trainer.setup.world import World

LOST_SHARE = 0.1  # some of WebShop's official synthetic goals cannot be won, fewer than 8 %


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmstartResult:
    """What a warm start leaves."""

    model: Path
    """The exported Hugging Face folder."""

    losses: tuple[float, ...]
    """Mean loss of each epoch, in nats per response token."""


def write_demos(plan: DemosPlan, display: Display) -> Path:
    """Let the expert play the training tasks and write its episodes to `output`. Returns the file.

    Raises ConfigError where the expert lost too many tasks.
    """
    config, world = plan.config, plan.world
    path = Path(config.output).absolute()
    demos = _passes(config, world, display, first=config.seed)
    demonstrations.write(demos, path)
    revised = sum(demo.attempts is not None for demo in demos)
    lost = config.passes * len(world.train[: config.tasks]) - (len(demos) - revised)
    steps = sum(len(demo.steps) for demo in demos)
    note = f", {revised} of them revisions" if config.revisions else ""
    display.line(f"{len(demos)} demonstrations{note} ({lost} more were lost), {steps} steps, in {path}")
    return path


def play(
    world: World,
    tasks: int | None,
    *,
    seed: int,
    mistakes: float,
    revisions: float = 0.0,
    on_played: Callable[[], None] = lambda: None,
) -> list[Demo]:
    """The expert's episodes on the first `tasks` training tasks (None: all), without the lost ones.

    revisions: the share of the tasks on which it also revises; these demonstrations follow. on_played: called after
    each episode.

    Raises ConfigError where the expert, without an injected mistake, loses more than `LOST_SHARE` of its tasks.
    """
    demos: list[Demo] = []
    task_ids = world.train[:tasks]
    for demo in demonstrations.demonstrate(world.env, task_ids, seed=seed, mistakes=mistakes):
        demos.append(demo)
        on_played()
    lost = [demo for demo in demos if not demo.won and all(step.by_expert for step in demo.steps)]
    if len(lost) > LOST_SHARE * len(demos):
        raise ConfigError(
            f"the expert lost {len(lost)} of {len(demos)} tasks, {lost[0].task_id!r} (seed {lost[0].seed}) the first: "
            "raise the step limit, or choose other data"
        )
    revised = revising(world.env, task_ids, seed=seed, share=revisions)
    return [*(demo for demo in demos if demo.won), *revised]


def warmstart(plan: WarmstartPlan, display: Display) -> WarmstartResult:
    """Train on demonstrations and export `output/model`.

    Raises ConfigError before any model loads where the file of demonstrations is broken or the expert loses too often.
    """
    config, world = plan.config, plan.world
    output = Path(config.output).absolute()
    epochs = _epochs(config, world, display)
    first = next(epochs)  # read or played before any model loads, so that a broken file is refused early
    output.mkdir(parents=True, exist_ok=True)
    with ray_running(config.cluster):
        model = resolve_model(config.model, world, config.env)
        check_positions(replace(config.model, source=model))
        check_nodes(config.cluster, config.model, model, display, output=output)
        codec = ChatCodec(model)
        display.stage(f"warm start: {config.epochs} epochs of {len(first)} demonstrations")
        # Without a KL term no reference model is loaded beside the policy.
        alone = replace(with_packing(config.learner, model), loss=replace(config.learner.loss, kl_coef=0.0))
        limit, losses = config.cluster.start_timeout_s, list[float]()
        with reserved(alone, model, timeout_s=limit) as learner, display.counting("epochs", config.epochs) as bar:
            with display.doing("starting the learner"):
                learner.join(timeout_s=limit)
            for epoch, demos in enumerate(chain([first], epochs), start=1):
                taught = supervised(
                    demos,
                    world.prompter,
                    codec,
                    history=config.env.history,
                    prompt_tokens=config.model.prompt_tokens,
                    response_tokens=config.model.response_tokens,
                    observations=config.observations,
                    revise_prompt=config.revise_prompt,
                )
                batch, wanted = taught.batch, -(-expert_steps(demos) // config.rows_per_step)
                steps = min(wanted, len(np.unique(batch.trajectory)))  # each takes a whole demonstration or more
                end = config.learner.warmup_steps + (config.learner.decay_steps or math.inf)
                if epoch == 1 and end < config.epochs * steps:
                    display.stage(f"the learning rate is 0 after {end} of some {config.epochs * steps} optimizer steps")
                with display.counting("optimizer steps", steps) as taken:
                    report = learner.sft(batch, optimizer_steps=steps, seed=config.seed + epoch, on_steps=taken.advance)
                losses.append(report.loss)
                display.line(f"epoch {epoch}/{config.epochs}  loss {losses[-1]:.4f}{_left_out(taught)}")
                bar.advance()
            with display.doing("export"):
                _export(learner, output / "model")
    return WarmstartResult(model=output / "model", losses=tuple(losses))


def _export(learner: Learner, folder: Path) -> None:
    """Write the model. It appears under its name only when complete: a kill leaves no half of one to train from."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a warm start that was killed
    learner.export(partial)
    sync_all(partial)
    partial.rename(folder)
    sync(folder.parent)


def _epochs(config: WarmstartConfig, world: World, display: Display) -> Iterator[list[Demo]]:
    """The demonstrations of each epoch: the same file every time, or the expert's episodes with new seeds.

    Raises ConfigError where they hold nothing to learn from.
    """
    if config.demos is not None:
        demos = demonstrations.read(Path(config.demos))
        if not expert_steps(demos):
            raise ConfigError(f"demos={config.demos} holds no step of the expert: write the file with fewer mistakes")
        _check_trained(config, world, demos)
        yield from repeat(demos, config.epochs)
        return
    for epoch in range(config.epochs):
        yield _passes(config, world, display, first=config.seed + epoch * config.passes)


def _check_trained(config: WarmstartConfig, world: World, demos: Sequence[Demo]) -> None:
    """Raises ConfigError where demonstrations are of other tasks than those of the training split."""
    trained, held_out = frozenset(world.train), frozenset(world.validation)
    if other := next((demo.task_id for demo in demos if demo.task_id not in trained), None):
        held = f"a task of env.validation_split={config.env.validation_split}"
        what = held if other in held_out else f"no task of env.train_split={config.env.train_split}"
        raise ConfigError(f"demos={config.demos} teaches {other!r}, {what}: write the file with this world and split")


def _passes(config: DemosConfig | WarmstartConfig, world: World, display: Display, *, first: int) -> list[Demo]:
    """The demonstrations of `config.passes` passes over the tasks; `first` is the seed of the first pass.

    Raises ConfigError where none of them is won, or none has a step of the expert.
    """
    demos: list[Demo] = []
    with display.counting("episodes of the expert", config.passes * len(world.train[: config.tasks])) as bar:
        for seed in range(first, first + config.passes):
            demos += play(
                world,
                config.tasks,
                seed=seed,
                mistakes=config.mistakes,
                revisions=config.revisions,
                on_played=bar.advance,
            )
    if not expert_steps(demos):
        raise ConfigError(
            f"mistakes={config.mistakes} leaves nothing to learn from: no episode of passes={config.passes} from seed "
            f"{first} was won by a step of the expert; lower mistakes, or raise passes, tasks or the step limit"
        )
    return demos


def _left_out(taught: Supervised) -> str:
    if not taught.too_long:
        return ""
    return f"  {taught.too_long} steps left out, over model.prompt_tokens or model.response_tokens"
