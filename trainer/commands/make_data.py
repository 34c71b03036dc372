"""The worlds' data on disk: fetch and check ALFWorld's release, generate households and shops."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Generic, Protocol, TypeVar

from annotated_types import Ge

from envs.alfworld.fetch import fetch
from envs.alfworld.generate import write_households
from envs.alfworld.household import Households
from envs.alfworld.index import open_index, release_folder
from envs.webshop.generate import write_folder
from trainer.config.build import ConfigError
from trainer.report.progress import Display


class HasFolder(Protocol):
    """A config that names the folder to write to."""

    @property
    def folder(self) -> str: ...


C = TypeVar("C", bound=HasFolder)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseConfig:
    """`stepcredit data alfworld`."""

    folder: str
    """Where ALFWorld's release lies, or is to be put."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseholdsConfig:
    """`stepcredit data alfworld-generate`."""

    folder: str
    """Gets the folder json_2.1.1, laid out as ALFWorld's release."""

    households: Households = field(default_factory=Households)
    """Which games, and how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopConfig:
    """`stepcredit data webshop-generate`."""

    folder: str
    """Gets the four files of a shop."""

    size: int
    """Number of products."""

    seed: Annotated[int, Ge(0)]
    """Seed of the generator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlan(Generic[C]):
    """Data that can be written."""

    config: C
    """What was asked for."""

    folder: Path
    """config.folder; it, or its nearest parent that exists, can be written."""


def plan_data(config: C) -> DataPlan[C]:
    """Choose the folder of the data. Raises ConfigError where it cannot be written."""
    parent = Path(config.folder).absolute()
    try:
        while not parent.exists():
            parent = parent.parent
        with tempfile.TemporaryFile(dir=parent):  # permissions do not say it all: /proc has them too
            pass
    except OSError as error:  # a folder that may not be searched, a name that is too long
        reason = f"folder={config.folder} cannot be written ({error.strerror})"
        raise ConfigError(f"{reason}: choose another folder") from error
    return DataPlan(config=config, folder=Path(config.folder))


def fetch_alfworld(plan: DataPlan[ReleaseConfig], display: Display) -> None:
    """Fetch what is missing of the release, then count and compare all of it. Raises EnvError, see `fetch`."""
    display.stage(f"the official games of ALFWorld, in {plan.folder}")
    for verdict in fetch(plan.folder):
        same = "the release's, byte for byte" if verdict.exact else "complete, of other contents than the release's"
        display.line(f"{verdict.split}: {sum(verdict.games)} games, {same}")
    for reason, count in open_index(release_folder(plan.folder)).skipped.items():
        display.line(f"left out, as the original does: {count} games ({reason})")


def generate_households(plan: DataPlan[HouseholdsConfig], display: Display) -> None:
    """Write generated games, each proven solvable by its expert. Raises EnvError, see `write_households`."""
    with display.doing("generating households"):
        count = write_households(plan.config.households, plan.folder)
    display.line(f"{count} games: play them with env=alfworld_official env.options.data={plan.folder}")


def generate_shop(plan: DataPlan[ShopConfig], display: Display) -> None:
    """Write a generated shop. Raises EnvError, see `write_folder`."""
    with display.doing("generating the shop"):
        write_folder(plan.folder, size=plan.config.size, seed=plan.config.seed)
    display.line(f"{plan.config.size} products: play them with env=webshop env.options.data={plan.folder}")
