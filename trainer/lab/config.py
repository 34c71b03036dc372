"""What `stepcredit lab` is told, as frozen types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge

from trainer.config.build import ConfigError
from trainer.lab.worlds.crafting import CraftingConfig
from trainer.lab.worlds.maze import MazeConfig

SWEPT = ("gamma", "omega", "norm", "eps")  # options that one setting gives to every estimator that has them


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthConfig:
    """sizes: of the groups, each measured on `rollouts` rollouts a world. crafting: None leaves TextCraft out."""

    sizes: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    rollouts: Annotated[int, Ge(1)] = 16384
    mazes: tuple[MazeConfig, ...] = (MazeConfig(),)
    crafting: CraftingConfig | None = None

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 2 or list(self.sizes) != sorted(set(self.sizes)):
            raise ConfigError(f"truth.sizes={list(self.sizes)}: give group sizes of 2 or more, each once, ascending")
        names = [world.name for world in (*self.mazes, *([self.crafting] if self.crafting else []))]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"the worlds of truth are named {names}: give one or more, each a name of its own")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabConfig:
    """run: folder of a run that kept its rollouts, or None for generated worlds alone; updates: None for all kept.

    estimators: names, or mappings of a name and options, such as {name: gigpo, gamma: 1.0}. presets: what further
    names stand for, a name and options each. gamma, omega, norm, eps: for every estimator that has the option; None
    leaves what the run had, else the papers' value. layer: hidden states are read anew from that layer of `weights`
    (None: the run's last checkpoint); None takes the recorded ones. truth: None leaves the generated worlds out.
    """

    output: str
    estimators: tuple[str | Mapping[str, Any], ...]
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    run: str | None = None
    updates: tuple[int, ...] | None = None
    gamma: float | None = None
    omega: float | None = None
    norm: Literal["mean", "mean_std"] | None = None
    eps: float | Literal["auto"] | None = None
    layer: int | None = None
    weights: str | None = None
    truth: TruthConfig | None = None
    seed: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        if not self.estimators:
            raise ConfigError("estimators=[] leaves nothing to compare: give one or more, such as [grpo,gigpo]")
        if self.updates is not None and (not self.updates or len(set(self.updates)) < len(self.updates)):
            raise ConfigError(f"updates={list(self.updates)}: give one or more, each once, or null for all")
        if self.run is None and self.truth is None:
            raise ConfigError("neither a run nor truth is given: stepcredit lab RUN_DIR, or leave truth as it is")
        if self.run is None:
            for name in ("updates", "layer", "weights"):
                if getattr(self, name) is not None:
                    raise ConfigError(f"{name}={getattr(self, name)} is of a recorded run: stepcredit lab RUN_DIR ...")
        if self.weights is not None and self.layer is None:
            raise ConfigError(f"weights={self.weights} are read for a layer only: add layer=-2, or leave them out")
