"""Settings of `stepcredit lab learn`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge

from estimators.options import suggestion
from trainer.config.build import ConfigError
from trainer.lab.worlds.bench import WORLDS


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnConfig:
    """Small policies trained by each estimator's credit in worlds of known truth."""

    output: str
    """Folder for the table, the page and the numbers; null makes outputs/learn/DATE_TIME."""

    estimators: tuple[str | Mapping[str, Any], ...] | Literal["all"] = "all"
    """Names of estimators or presets, or mappings of a name and options; "all" are those that can run here."""

    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Further names; each stands for an estimator's name and its options."""

    worlds: tuple[str, ...] | Literal["all"] = "all"
    """Worlds of the bench."""

    layout: Annotated[int, Ge(0)] = 0
    """Number of the layout in each world; the policy that it draws is where learning begins."""

    sizes: tuple[int, ...] = (4, 8, 16, 32)
    """Group sizes; each must divide `rollouts`."""

    rollouts: Annotated[int, Ge(2)] = 32
    """Rollouts of an update, whatever the group size."""

    updates: Annotated[int, Ge(1)] = 60
    """Updates of a policy."""

    seeds: Annotated[int, Ge(2)] = 100
    """Policies trained for each estimator, world and group size; intervals are over them."""

    rates: tuple[float, ...] = (0.0625, 0.125, 0.25, 0.5)
    """Learning rates to choose from, in units of one over the root mean square of the first update's credit."""

    tuning_seeds: Annotated[int, Ge(1)] = 16
    """Further policies, on which each estimator's learning rate is chosen in each world."""

    policy: Literal["table", "shared"] = "table"
    """A table of logits, or logits linear in features that states and texts share."""

    texts: Annotated[int, Ge(1)] = 1
    """Texts that describe one state; each visit shows one of them at random."""

    seed: Annotated[int, Ge(0)] = 0
    """Seeds the rollouts."""

    resume: Literal["never", "auto"] = "never"
    """"auto" keeps the curves that `output` holds and trains those that it lacks; worlds and estimators may be more."""

    def __post_init__(self) -> None:
        if not self.estimators:
            raise ConfigError("estimators=[] leaves nothing to train by: give one or more, such as [grpo,gigpo]")
        wrong = [size for size in self.sizes if size < 2 or self.rollouts % size]
        if wrong or not self.sizes:
            raise ConfigError(f"sizes={list(self.sizes)}: give sizes of 2 or more that divide rollouts={self.rollouts}")
        if not self.rates or min(self.rates) <= 0:
            raise ConfigError(f"rates={list(self.rates)}: give one or more, each above 0")
        for world in self.names:
            if world not in WORLDS:
                raise ConfigError(f"worlds has {world!r}, which the bench has not: {suggestion(world, WORLDS)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The worlds."""
        return tuple(WORLDS) if self.worlds == "all" else self.worlds
