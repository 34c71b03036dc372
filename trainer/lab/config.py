"""Settings of `stepcredit lab`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge

from estimators.options import suggestion
from trainer.config.build import ConfigError
from trainer.data.recording import check_updates
from trainer.lab.worlds.bench import APART, WORLDS
from trainer.lab.worlds.crafting import CraftingConfig
from trainer.lab.worlds.maze import MazeConfig

SWEPT = ("gamma", "omega", "norm", "eps")
"""Options of estimators that one setting of the lab gives to every estimator that has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthConfig:
    """Generated worlds, whose true advantages are known."""

    sizes: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Group sizes, each 2 or more, ascending."""

    rollouts: Annotated[int, Ge(1)] = 16384
    """Rollouts drawn for each group size in each world."""

    mazes: tuple[MazeConfig, ...] = (MazeConfig(),)
    """The mazes, each with a name of its own."""

    crafting: CraftingConfig | None = None
    """TextCraft; None leaves it out."""

    worlds: tuple[str, ...] | Literal["all"] = ()
    """Worlds of the bench, such as [delay,recov], or "all": several layouts and policies of each."""

    layouts: Annotated[int, Ge(2)] = 6
    """Layouts of each world of the bench; intervals are over layouts."""

    first_layout: Annotated[int, Ge(0)] = 0
    """Number of the first layout."""

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 2 or list(self.sizes) != sorted(set(self.sizes)):
            raise ConfigError(f"truth.sizes={list(self.sizes)}: give group sizes of 2 or more, each once, ascending")
        for world in self.names:
            if world not in {**WORLDS, **APART}:
                raise ConfigError(
                    f"truth.worlds has {world!r}, which the bench has not: {suggestion(world, [*WORLDS, *APART])}"
                )
        names = [world.name for world in (*self.mazes, *([self.crafting] if self.crafting else []))]
        names += self.names
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"the worlds of truth are named {names}: give one or more, each a name of its own")

    @property
    def names(self) -> tuple[str, ...]:
        """The worlds of the bench."""
        return tuple(WORLDS) if self.worlds == "all" else self.worlds


@dataclass(frozen=True, slots=True, kw_only=True)
class LabConfig:
    """A comparison of estimators, on a run's recorded rollouts, on generated worlds, or on both."""

    output: str
    """Folder for the tables, the page and the numbers; null makes outputs/lab/DATE_TIME."""

    estimators: tuple[str | Mapping[str, Any], ...] | Literal["all"]
    """Names of estimators or presets, or mappings of a name and options, such as {name: gigpo, gamma: 1.0}.

    "all" are those of the registry that can run here.
    """

    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Further names; each stands for an estimator's name and its options."""

    scorers: tuple[str | Mapping[str, Any], ...] = ()
    """Scorers whose step rewards each estimator gets besides, in generated worlds: names, or mappings of a name and
    options, such as {name: milestones, weight: 5.0}."""

    run: str | None = None
    """Folder of a run that kept its rollouts; None for generated worlds alone."""

    updates: tuple[int, ...] | None = None
    """Updates of the run to read, each once; None for all that were kept."""

    gamma: float | None = None
    """Discount, for every estimator that has it. None: the run's value where there is one, else the paper's."""

    omega: float | None = None
    """Weight of the step-level credit, for every estimator that has it. None: as for gamma."""

    norm: Literal["mean", "mean_std"] | None = None
    """Normalisation, for every estimator that has it. None: as for gamma."""

    eps: float | Literal["auto"] | None = None
    """Cluster radius, for every estimator that has it; "auto" measures it on the first batch. None: as for gamma."""

    layer: int | None = None
    """Read hidden states again from this layer of `weights`; None takes the recorded ones."""

    weights: str | None = None
    """Hugging Face folder that `layer` is read from; None for the run's newest export."""

    truth: TruthConfig | None = None
    """The generated worlds; None leaves them out."""

    seed: Annotated[int, Ge(0)] = 0
    """Seeds the rollouts in generated worlds."""

    def __post_init__(self) -> None:
        if not self.estimators:
            raise ConfigError("estimators=[] leaves nothing to compare: give one or more, such as [grpo,gigpo]")
        check_updates(self.updates)
        if self.run is None and self.truth is None:
            raise ConfigError("neither a run nor truth is given: stepcredit lab RUN_DIR, or leave truth as it is")
        if self.run is None:
            for name in ("updates", "layer", "weights"):
                if getattr(self, name) is not None:
                    raise ConfigError(f"{name}={getattr(self, name)} is of a recorded run: stepcredit lab RUN_DIR ...")
        if self.weights is not None and self.layer is None:
            raise ConfigError(f"weights={self.weights} are read for a layer only: add layer=-2, or leave them out")
