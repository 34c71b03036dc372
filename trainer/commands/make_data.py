"""What worlds are played with, on disk: ALFWorld's release fetched and checked, households and shops generated."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from envs.alfworld.fetch import fetch
from envs.alfworld.generate import write_households
from envs.alfworld.household import Households
from envs.alfworld.index import open_index, release_folder
from envs.webshop.generate import write_folder
from trainer.config.build import ConfigError
from trainer.report.progress import Display


class Placed(Protocol):
    """A config that says where."""

    @property
    def folder(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseConfig:
    """folder: where ALFWorld's release is to be, or lies."""

    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseholdsConfig:
    """folder: gets json_2.1.1; households: which games."""

    folder: str
    households: Households = field(default_factory=Households)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopConfig:
    """folder: gets the four files of a shop of `size` products."""

    folder: str
    size: int
    seed: int


def check_folder(config: Placed) -> None:
    """Raises ConfigError for a folder that cannot be written."""
    there = Path(config.folder).absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(f"folder={config.folder}: {there} is no folder that can be written; choose another folder")


def fetch_alfworld(config: ReleaseConfig, display: Display) -> None:
    """Fetch what is missing of the release, then count and compare all of it. Raises EnvError, see `fetch`."""
    display.stage(f"the official games of ALFWorld, in {config.folder}")
    for verdict in fetch(Path(config.folder)):
        same = "the release's, byte for byte" if verdict.exact else "complete, of other contents than the release's"
        display.line(f"{verdict.split}: {sum(verdict.games)} games, {same}")
    for reason, count in open_index(release_folder(Path(config.folder))).skipped.items():
        display.line(f"left out, as the original does: {count} games ({reason})")


def generate_households(config: HouseholdsConfig, display: Display) -> None:
    """Write generated games, each proven solvable by its expert. Raises EnvError, see `write_households`."""
    count = write_households(config.households, Path(config.folder))
    display.line(f"{count} games: play them with env=alfworld_official env.options.data={config.folder}")


def generate_shop(config: ShopConfig, display: Display) -> None:
    """Write a generated shop. Raises EnvError, see `write_folder`."""
    write_folder(Path(config.folder), size=config.size, seed=config.seed)
    display.line(f"{config.size} products: play them with env=webshop env.options.data={config.folder}")
