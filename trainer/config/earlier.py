"""The configs of the commands that begin with an earlier run."""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated

from annotated_types import Ge, doc

from rollout.marks import HARMLESS
from trainer.config.commands import TrainConfig
from trainer.config.derived import Unused


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkConfig(TrainConfig):
    """A training run that begins with a checkpoint of another run, whose settings are its defaults."""

    derived = MappingProxyType({**TrainConfig.derived, "commit": Unused(value=None, reason="the command finds it")})

    run: str = field(metadata=HARMLESS)
    """Folder of the other run. Given as the first word."""

    update: Annotated[int | None, Ge(1), doc("1 or more")] = field(default=None, metadata=HARMLESS)
    """The update of the other run after which this one begins; it must have a checkpoint."""

    commit: str | None = field(default=None, metadata=HARMLESS)
    """Commit of stepcredit that the fork was made with; null where it is no git checkout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """One update that is run again, by the learner alone."""

    batch: str
    """File that a run left which ended by gradients that are not finite, OUTPUT/bad-batch-NUMBER.npz. The run's folder
    is where it lies. Given as the first word."""
