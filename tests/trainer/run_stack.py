"""A run's stack in this process: fakes of engines, learner and workers under the real loop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from estimators import Unit, needs
from rollout.collect import Collector, RolloutConfig
from rollout.engines import EngineLosses
from rollout.policy import Key
from rollout.seeds import derive_seed
from tests.fakes import CORRIDOR_PROMPTS, Corridor, FolderLearner, LocalPool, ScriptedPolicy
from trainer import run
from trainer.commands.defaults import register
from trainer.config.build import build
from trainer.config.commands import TrainConfig
from trainer.config.earlier import ForkConfig
from trainer.config.learner import LearnerConfig
from trainer.config.settings import CheckpointConfig, ClusterConfig, EnvConfig, LogConfig, ValidationConfig
from trainer.data.tokens import Targets, TokenBatch
from trainer.learner.reports import LearnReport, Scores
from trainer.report.meanings import CLOCKED
from trainer.report.metric_rows import read_metrics
from trainer.report.progress import Display
from trainer.run import RunResult, train
from trainer.scorers import trains_twin
from trainer.setup.credit import estimator_of, scorer_of
from trainer.setup.parts import Parts
from trainer.setup.past_run import plan_fork
from trainer.setup.preflight import plan_training
from trainer.setup.world import World
from trainer.step import UpdateReport, update


class HashLearner(FolderLearner):
    """Its weights are a word that every update hashes together with what it was taught."""

    logprob = -0.5
    """What it says about every token."""
    scale = 1.0
    """What its hidden states are multiplied with."""

    def __init__(self, events: list[str]) -> None:
        super().__init__("0")
        self.events = events
        self.config = LearnerConfig()
        self.dies_at: int | None = None
        self.faults: dict[int, Exception] = {}  # by the number of the call of `learn`, from 1
        self.skipped_steps = 0
        self.updates = 0
        self.first_ratio_error = 0.0
        self.engine_mismatch = 0.01
        self.targets: Targets | None = None
        self.takes_engines = False  # as with learner.old_logprobs=engine
        self.critic: Unit | None = None
        self.twin: HashLearner | None = None
        self.value = 4.0  # what its critic says of everything

    def score(self, batch: TokenBatch, *, layer: int | None = None) -> Scores:
        self.events.append("score")
        direction = np.random.default_rng(0).standard_normal((batch.num_rows, 4)).astype(np.float32)
        logprobs = np.full(batch.num_response_tokens, self.logprob, np.float32)
        embedding = None if layer is None else np.float32(self.scale) * direction
        if self.takes_engines:
            return Scores(logprobs=None, ref_logprobs=None, embedding=embedding, entropy=None)
        count = batch.num_response_tokens if self.critic == "token" else batch.num_rows
        values = None if self.critic is None else np.full(count, self.value, np.float32)
        return Scores(logprobs=logprobs, ref_logprobs=None, embedding=embedding, entropy=0.5, values=values)

    def learn(self, batch: TokenBatch, targets: Targets, *, seed: int) -> LearnReport:
        self.events.append("learn")
        self.updates += 1
        self.targets = targets
        if self.updates == self.dies_at:
            raise KeyboardInterrupt
        if (fault := self.faults.get(self.updates)) is not None:
            raise fault
        targets.check_fits(batch)
        self.word = str(derive_seed(self.word, seed, str(targets.advantage.tolist()), str(batch.tokens.tolist())))
        taken = 2 - self.skipped_steps
        means = dict.fromkeys(LearnReport.__dataclass_fields__, 1.0 if taken else np.nan)
        means |= {
            "optimizer_steps": taken,
            "skipped_steps": self.skipped_steps,
            "learning_rate": 1.0,
            "tokens": 1,
            "first_ratio_error": self.first_ratio_error,
        }
        means |= {"engine_mismatch": self.engine_mismatch, "row_tokens": 1, "padded_ratio": 1.0}
        return LearnReport(**means)  # pyright: ignore[reportArgumentType]


@dataclass(slots=True)
class WordEngines:
    """Serve the learner's word: what the policy says depends on it."""

    events: list[str]
    word: str = ""
    version: int = 0
    losses: EngineLosses = field(default_factory=EngineLosses)
    replaces: bool = True

    def take_losses(self) -> EngineLosses:
        return self.losses

    @contextmanager
    def none_replaced(self) -> Iterator[None]:
        self.replaces = False
        try:
            yield
        finally:
            self.replaces = True

    def sleep(self) -> None:
        self.events.append("sleep")

    def publish(self, learner: HashLearner, version: int, timeout_s: float) -> None:
        assert timeout_s == ClusterConfig().publish_timeout_s
        self.events.append(f"publish {version}")
        self.word, self.version = learner.word, version

    def say(self, key: Key) -> str:
        if self.events[-1:] != ["ask"]:
            self.events.append("ask")
        return "go" if derive_seed(self.word, *key) % 3 else "wait"


@dataclass(slots=True)
class Stack:
    """One process of a run: its parts, and what they did in which order."""

    events: list[str] = field(default_factory=list)
    learner: HashLearner = field(init=False)
    script: Callable[[Key], str] | None = None  # None: what the policy says depends on what it was taught
    policy: ScriptedPolicy = field(init=False)
    engines: WordEngines = field(init=False)

    def __post_init__(self) -> None:
        self.learner, self.engines = HashLearner(self.events), WordEngines(self.events)
        self.policy = ScriptedPolicy(self.script or self.engines.say, version=lambda: self.engines.version)

    def parts(self, config: TrainConfig, world: World) -> Parts:
        self.learner.critic = needs(estimator_of(config)).critic
        self.learner.twin = HashLearner([]) if trains_twin(scorer_of(config)) else None
        collector = Collector(policy=self.policy, pool=LocalPool(), prompter=world.prompter, config=config.rollout)  # pyright: ignore
        return Parts(
            config=config,
            world=world,
            engines=self.engines,  # pyright: ignore[reportArgumentType]
            learner=self.learner,  # pyright: ignore[reportArgumentType]
            collector=collector,
            scorer=scorer_of(config),
        )

    def train(self, config: TrainConfig, display: Display | None = None) -> RunResult:
        """`run.train` with these parts in the place of Ray, vLLM and DeepSpeed."""

        @contextmanager
        def assembled(config: TrainConfig, world: World, _: Display) -> Iterator[Parts]:
            self.learner.word = "0"  # a learner that starts
            yield self.parts(config, world)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "assembled", assembled)
            plan = plan_fork(config) if isinstance(config, ForkConfig) else plan_training(config)
            return train(plan, display or Display(Console(quiet=True)))


@cache
def defaults() -> TrainConfig:
    register()
    with initialize_config_dir(str(Path(__file__).parents[2] / "configs"), version_base="1.3"):
        values = compose("train", overrides=["output=out"])
    return build(TrainConfig, OmegaConf.to_container(values, resolve=True))  # pyright: ignore[reportArgumentType]


def configured(output: Path, **changes: Any) -> TrainConfig:
    """Three groups of two rollouts, four updates; a checkpoint and a validation every two."""
    plain_run = {
        "learner": replace(defaults().learner, optimizer_steps=2),
        "env": EnvConfig(world="corridor", _target_="tests.fakes:CORRIDOR", style="bare", history=6),
        "rollout": RolloutConfig(history=6),
        "estimator": {"name": "gigpo"},
        "validation": ValidationConfig(every=2, tasks=2),
        "checkpoint": CheckpointConfig(every=2, keep=2),
        "log": LogConfig(tensorboard=False, wandb="disabled"),
        "updates": 4,
        "groups_per_update": 3,
        "group_size": 2,
    }
    return replace(defaults(), output=str(output), **{**plain_run, **changes})


def one_update(
    tmp_path: Path, number: int, script: Callable[[Key], str] | None = None, **changes: Any
) -> tuple[Stack, UpdateReport]:
    stack, config = Stack(script=script), configured(tmp_path, **changes)
    stack.learner.takes_engines = config.learner.old_logprobs == "engine"
    corridor = Corridor()
    world = World(
        env=corridor,
        prompter=CORRIDOR_PROMPTS,
        train=tuple(corridor.tasks("train")),
        validation=tuple(corridor.tasks("test")),
    )
    return stack, update(stack.parts(config, world), estimator_of(config), number)


def stops_at_first(key: Key) -> str:
    """The first rollout of a group gives up at once; its revision, whose keys have a part more, walks to the end."""
    return "stop" if key[1] == 0 and len(key) == 3 else "go"


def lasting(output: Path) -> list[dict[str, float]]:
    """Rows without what a clock says."""
    return [
        {name: value for name, value in row.items() if not name.startswith(CLOCKED)} for row in read_metrics(output)
    ]
