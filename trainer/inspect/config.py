"""Settings of `stepcredit inspect`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from annotated_types import Ge, Interval

from estimators.options import suggestion
from trainer.config.build import ConfigError
from trainer.data.recording import check_updates
from trainer.lab.worlds.bench import WORLDS

GENERATED = ("layout", "groups", "group_size", "seed")
"""Settings of rollouts that are drawn from a world of known truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectConfig:
    """A page that shows the credit of every step, of a run's recorded rollouts or in a world of known truth."""

    output: str
    """The page, one HTML file; null makes outputs/inspect/DATE_TIME.html."""

    run: str | None = None
    """Folder of a run that kept its rollouts. Given as the first word."""

    updates: tuple[int, ...] | None = None
    """Updates to show, each once; None for all that were kept."""

    estimators: tuple[str | Mapping[str, Any], ...] | None = None
    """Names of estimators or presets, or mappings of a name and options, such as {name: gigpo, gamma: 1.0}.

    None takes the run's own, gigpo and grpo; in a world of known truth, gigpo, bipace and grpo.
    """

    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Further names; each stands for an estimator's name and its options."""

    world: str | None = None
    """A world of the lab's bench, such as delay, whose true advantages are known; None with a run."""

    layout: Annotated[int, Ge(0)] = 0
    """Number of the layout of `world`."""

    groups: Annotated[int, Ge(1)] = 8
    """Groups to draw from `world`."""

    group_size: Annotated[int, Ge(2)] = 8
    """Rollouts in each of them."""

    seed: Annotated[int, Ge(0)] = 0
    """Seeds these rollouts."""

    serve: bool = False
    """Serve the page of the run's newest update on this machine alone, and follow the run; also --serve."""

    port: Annotated[int, Interval(ge=0, le=65535)] | None = None
    """Port of 127.0.0.1 that serves it, for serve alone; None takes 8765, 0 a free one."""

    def __post_init__(self) -> None:
        if (self.run is None) == (self.world is None):
            given = "neither a run nor a world is" if self.run is None else f"run={self.run} and world={self.world} are"
            raise ConfigError(f"{given} given: give stepcredit inspect RUN_DIR, or world=delay for one of known truth")
        names = [f.name for f in fields(self) if f.name in GENERATED and getattr(self, f.name) != f.default]
        if self.world is None and names:
            raise ConfigError(
                f"{names[0]}={getattr(self, names[0])} is of a world of known truth: leave it out with run={self.run}, "
                "which was recorded"
            )
        if self.world is not None and self.world not in WORLDS:
            raise ConfigError(f"world={self.world}, which the bench has not: {suggestion(self.world, WORLDS)}")
        if self.serve and self.world is not None:
            raise ConfigError(f"serve=true follows a run, and world={self.world} does not go on: leave one of them out")
        if self.serve and self.updates is not None:
            raise ConfigError(f"serve=true shows the newest update: leave updates={list(self.updates)} or serve out")
        if self.port is not None and not self.serve:
            raise ConfigError(f"port={self.port} without serve=true, which alone opens one: add --serve")
        if self.run is None and self.updates is not None:
            raise ConfigError(f"updates={list(self.updates)} are of a recorded run: leave them out with world=...")
        if self.estimators is not None and not self.estimators:
            raise ConfigError("estimators=[] leaves nothing to show: give one or more, such as [gigpo,bipace]")
        check_updates(self.updates)
