"""The data commands: the worlds play what they write, and what lies on disk is compared and counted."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from envs import make
from envs.alfworld import fetch as fetch_module
from envs.alfworld.fetch import Expected, digest
from envs.alfworld.household import Households
from envs.alfworld.index import SPLITS
from trainer.commands.make_data import (
    HouseholdsConfig,
    ReleaseConfig,
    ShopConfig,
    fetch_alfworld,
    generate_households,
    generate_shop,
    plan_data,
)
from trainer.config.build import ConfigError
from trainer.report.progress import Display


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPCREDIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def display(written: io.StringIO) -> Display:
    return Display(Console(file=written, highlight=False, soft_wrap=True))


def test_households_that_were_written_are_checked_like_a_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, display: Display, written: io.StringIO
) -> None:
    folder = tmp_path / "games"
    config = HouseholdsConfig(folder=str(folder), households=Households(train=6, held_out=6))
    generate_households(plan_data(config), display)
    assert written.getvalue() == f"18 games: play them with env=alfworld_official env.options.data={folder}\n"
    digests = {split: digest(folder / "json_2.1.1", split) for split in SPLITS} | {"train": "other"}
    game = next((folder / "json_2.1.1" / "train").glob("*/*"))
    shutil.copytree(game, game.parent.with_name("pick_and_place_simple-AppleSliced-None-Desk-1") / "trial")
    official = {split: Expected(games=(1,) * 6, digest=digests[split]) for split in SPLITS}
    monkeypatch.setattr(fetch_module, "OFFICIAL", official)
    fetch_alfworld(plan_data(ReleaseConfig(folder=str(folder))), display)
    assert written.getvalue().splitlines()[2:] == [
        "train: 6 games, complete, of other contents than the release's",
        "valid_seen: 6 games, the release's, byte for byte",
        "valid_unseen: 6 games, the release's, byte for byte",
        "left out, as the original does: 1 games (movable or sliced)",
    ]


def test_a_shop_that_was_written_is_played(tmp_path: Path, display: Display) -> None:
    generate_shop(plan_data(ShopConfig(folder=str(tmp_path / "shop"), size=40, seed=3)), display)
    stored, generated = make("webshop", data=tmp_path / "shop"), make("webshop", shop_size=40, shop_seed=3)
    assert list(stored.tasks("train")) == list(generated.tasks("train"))
    for env in (stored, generated):
        env.reset("goal-0")
    for action in generated.expert():
        assert stored.step(action) == generated.step(action)


def test_a_folder_may_be_new_at_any_depth_but_not_below_a_file(tmp_path: Path) -> None:
    plan_data(ReleaseConfig(folder=str(tmp_path / "a" / "b")))
    (tmp_path / "a").write_text("")
    with pytest.raises(ConfigError, match=r"folder=.*b cannot be written \(Not a directory\)"):
        plan_data(ReleaseConfig(folder=str(tmp_path / "a" / "b")))


def test_a_folder_that_refuses_files_though_its_permissions_do_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"folder=/proc/here cannot be written \(.+\): choose another folder"):
        plan_data(ReleaseConfig(folder="/proc/here"))


def test_a_folder_whose_name_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"folder=.* cannot be written \(File name too long\): choose another folder"):
        plan_data(ReleaseConfig(folder=str(tmp_path / ("x" * 300))))
