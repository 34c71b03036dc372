"""Settings of `stepcredit truth`, checked before an engine starts. This imports no torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from trainer import checkpoint
from trainer.config.build import ConfigError
from trainer.config.commands import TrainConfig
from trainer.data.recording import Recording, check_updates, recordings
from trainer.lab.measure.reading import read_rows
from trainer.setup.folder import model_folder
from trainer.setup.machine import check_machine
from trainer.setup.past_run import config_of
from trainer.setup.world import World, open_world


@dataclass(frozen=True, slots=True, kw_only=True)
class MonteCarloConfig:
    """An estimate of the true advantages of a run's recorded turns."""

    run: str
    """Folder of a run that kept its rollouts. Given as the first word."""

    updates: tuple[int, ...] | None = None
    """Updates to estimate, each once; None for all that were kept."""

    continuations: Annotated[int, Ge(2)] = 16
    """Rollouts that go on from each state of the recorded ones."""

    weights: str | None = None
    """Hugging Face folder or id of the policy that goes on; None for the run's newest export."""

    seed: Annotated[int, Ge(0)] = 0
    """Seed of the sampling."""

    def __post_init__(self) -> None:
        check_updates(self.updates)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonteCarloPlan:
    """An estimate that can start."""

    config: MonteCarloConfig
    """What was asked for."""

    run: TrainConfig
    """The run's settings, with the weights that go on in the place of its model."""

    recordings: tuple[Recording, ...]
    """The updates to estimate."""

    world: World
    """The driver's copy of the world, open."""


def plan_truth(config: MonteCarloConfig) -> MonteCarloPlan:
    """Choose the policy that goes on with a run's recorded rollouts.

    Raises ConfigError or EnvError for whatever is known to fail before an engine starts.
    """
    folder = Path(config.run).absolute()
    kept, run = recordings(folder, config.updates), config_of(folder)
    weights = config.weights or checkpoint.newest_export(folder)
    if weights is None:
        raise ConfigError(f"{folder} has no export that could go on with its rollouts: give weights=FOLDER")
    run = replace(run, model=replace(run.model, source=str(weights)))
    check_machine(run.cluster, serves=True, trains=False)
    model_folder(run.model, trained=False)
    for recording in kept:  # one that was cut short is told now, and not after the engine has started
        read_rows(recording, {})
    return MonteCarloPlan(config=config, run=run, recordings=kept, world=open_world(replace(run.env, overlap=True)))
