"""One policy, one engine, and ranks and worlds that stay for all real runs of this folder; ranks are forked.

A run goes the way of the command from the plan on: `trainer.run.train` puts the parts together itself. Ray and the
engine alone are handed to it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from rollout.engines import Engines
from tests.trainer.forked import fork_ranks
from trainer.commands.compose import CONFIGS
from trainer.commands.defaults import register
from trainer.commands.table import COMMANDS, named
from trainer.config.build import build
from trainer.report.meanings import CLOCKED
from trainer.report.metric_rows import read_metrics
from trainer.report.progress import Display
from trainer.setup import parts
from trainer.setup.kept import keeping

THREADS = "cluster.threads=1"  # tests run beside each other
WARM_START = ("env=textcraft", "model=tiny", "cluster=cpu", THREADS, "seed=0", "epochs=2", "rows_per_step=16")
RUN = (
    *("experiment=tiny", "env=textcraft", "model=tiny", "cluster=cpu", "seed=0", "deterministic=true"),
    THREADS,
    *("updates=3", "groups_per_update=4", "group_size=4", "validation.tasks=8", "validation.every=3"),
    *("checkpoint.every=1", "checkpoint.keep=3", "record=rollouts", "log.wandb=disabled", "log.tensorboard=false"),
    "env.options.max_steps=10",  # else a failure of the validation takes 40 turns
    "model.prompt_tokens=900",  # for prompts that ask for sub-goals
)


def planned(command: str, *words: str) -> Any:
    """The plan of a command line."""
    register()
    entry = COMMANDS[command]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        values = OmegaConf.to_container(compose(entry.yaml, overrides=list(words)), resolve=True)
    return named(entry.plan)(build(named(entry.config), values))  # pyright: ignore[reportArgumentType]


def unclocked(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """The rows of metrics.jsonl without what a clock measured."""
    return [{name: value for name, value in row.items() if not name.startswith(CLOCKED)} for row in rows]


def quiet() -> Display:
    return Display(Console(file=StringIO()))


@dataclass(frozen=True)
class Stack:
    """What the runs share. policy: a Hugging Face folder, warm-started."""

    policy: Path
    engines: Engines
    context: Context
    """Where runs leave their parts to each other: here alone, as other tests of this process must not take them."""

    def train(self, output: Path, *words: str) -> list[dict[str, float]]:
        """Run `stepcredit train` with `RUN` and further words in this process; its rows of metrics.jsonl."""
        self.run("train", planned("train", *RUN, f"model.source={self.policy}", f"output={output}", *words))
        return read_metrics(output)

    def run(self, command: str, plan: Any) -> Any:
        """What a command gives, with the parts that the run before has left."""
        return self.context.run(named(COMMANDS[command].run), plan, quiet())


@pytest.fixture(scope="session")
def stack(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("real")
    context, kept = copy_context(), keeping()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        context.run(kept.__enter__)
        stack.callback(context.run, kept.__exit__, None, None, None)
        fork_ranks(patch)
        for command in ("trainer.commands.warmstart", "trainer.setup.parts"):
            patch.setattr(f"{command}.ray_running", lambda config: nullcontext())
        plan = planned("warmstart", *WARM_START, f"output={folder}")
        policy = context.run(named(COMMANDS["warmstart"].run), plan, quiet()).model
        config = planned("train", *RUN, f"model.source={policy}", "output=none").config
        patch.setattr("rollout.engines.ENGINE", "tests.trainer.real.late_engine:LateEngine")
        with parts.started(config.engine, config.model, str(policy), deterministic=True, stays=False) as engines:
            engines.wait_ready()
            # Whatever a run's settings say: one engine serves them all.
            patch.setattr(parts, "started", lambda *_, **__: nullcontext(engines))
            yield Stack(policy=policy, engines=engines, context=context)


@pytest.fixture(scope="session")
def run_of(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of an estimator's finished run; the first test that asks runs it."""
    folder = tmp_path_factory.mktemp("runs")

    @cache
    def finished(estimator: str) -> Path:
        stack.train(folder / estimator, f"estimator={estimator}")
        return folder / estimator

    return finished
