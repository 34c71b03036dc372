"""The official release: downloaded, verified, and explained if the download fails."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from envs import EnvError
from envs.alfworld import fetch as fetch_module
from envs.alfworld.fetch import OFFICIAL, Expected, digest, fetch, verify
from envs.alfworld.generate import write_households
from envs.alfworld.household import Households
from envs.alfworld.index import SPLITS

GAMES = (1, 1, 1, 1, 1, 1)


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small release of six games a split, declared to be the official one."""
    source = tmp_path / "source"
    write_households(Households(train=6, held_out=6), source)
    expected = {split: Expected(games=GAMES, digest=digest(source / "json_2.1.1", split)) for split in SPLITS}
    monkeypatch.setattr(fetch_module, "OFFICIAL", expected)
    return source


def archives(release: Path, folder: Path) -> tuple[str, str]:
    """The release as two archives that also contain other files; returns their addresses."""
    folder.mkdir()
    for name in ("traj_data.json", "game.tw-pddl"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for path in sorted(release.rglob(name)):
                archive.write(path, path.relative_to(release))
            archive.writestr("json_2.1.1/train/task/trial/picture.png", "x")
            archive.writestr(f"json_2.1.1/tests/task/trial/{name}", "x")
            archive.writestr(f"../{name}", "x")
    return tuple((folder / f"{name}.zip").as_uri() for name in ("traj_data.json", "game.tw-pddl"))  # pyright: ignore


def test_the_release_is_fetched_unpacked_and_verified(release: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    verdicts = fetch(data, archives=archives(release, tmp_path / "served"))
    assert [(verdict.split, verdict.games, verdict.exact) for verdict in verdicts] == [
        (split, GAMES, True) for split in SPLITS
    ]
    files = {path.relative_to(data) for path in data.rglob("*") if path.is_file()}
    assert files == {path.relative_to(release) for path in release.rglob("*") if path.is_file()}


def test_what_is_there_is_not_fetched_again(release: Path) -> None:
    assert all(verdict.exact for verdict in fetch(release, archives=("file:///nowhere.zip",)))


def test_without_network_it_says_exactly_what_to_do(tmp_path: Path) -> None:
    address = (tmp_path / "missing.zip").as_uri()
    with pytest.raises(EnvError) as refusal:
        fetch(tmp_path / "data", archives=(address,))
    for part in (address, "unpack both into", str(tmp_path / "data"), "alfworld-generate"):
        assert part in str(refusal.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_broken_archive_is_refused_and_removed(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_text("no archive")
    with pytest.raises(EnvError, match="broken"):
        fetch(tmp_path / "data", archives=((tmp_path / "broken.zip").as_uri(),))
    assert list((tmp_path / "data").iterdir()) == []


def test_an_incomplete_download_unpacks_nothing_and_the_next_run_fetches_the_rest(
    release: Path, tmp_path: Path
) -> None:
    details, games = archives(release, tmp_path / "served")
    with pytest.raises(EnvError, match="cannot be fetched"):
        fetch(tmp_path / "data", archives=(details, games + ".later"))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["traj_data.json.zip"]
    assert all(verdict.exact for verdict in fetch(tmp_path / "data", archives=(details, games)))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["json_2.1.1"]


def test_what_a_run_left_that_was_cut_off_while_unpacking_is_unpacked_anew(release: Path, tmp_path: Path) -> None:
    left = tmp_path / "data" / "json_2.1.1.partial" / "json_2.1.1" / "train" / "task" / "trial"
    left.mkdir(parents=True)
    (left / "game.tw-pddl").write_text("half")
    assert all(verdict.exact for verdict in fetch(tmp_path / "data", archives=archives(release, tmp_path / "served")))


def test_archives_without_games_are_refused_now_and_with_a_way_out_later(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("picture.png", "x")
    address = (tmp_path / "other.zip").as_uri()
    with pytest.raises(EnvError, match="holds no ALFWorld games"):
        fetch(tmp_path / "data", archives=(address,))
    with pytest.raises(EnvError, match=r"json_2\.1\.1 holds no games; remove it"):
        fetch(tmp_path / "data", archives=(address,))


def test_a_missing_game_is_refused_with_the_counts(release: Path) -> None:
    shutil.rmtree(next((release / "json_2.1.1" / "valid_seen").glob("pick_heat*")))
    with pytest.raises(EnvError, match=r"valid_seen.*pick_heat_then_place_in_recep 0 of 1"):
        verify(release)


def test_a_game_of_other_contents_is_told(release: Path) -> None:
    game = next((release / "json_2.1.1" / "train").glob("*/*/game.tw-pddl"))
    game.write_text(game.read_text() + " ")
    assert [verdict.exact for verdict in verify(release)] == [False, True, True]


@pytest.mark.parametrize("split", ["valid_seen", "valid_unseen"])
def test_the_official_validation_splits_have_the_expected_digests(alfworld_data: Path, split: str) -> None:
    assert digest(alfworld_data / "json_2.1.1", split) == OFFICIAL[split].digest


@pytest.mark.slow
def test_the_whole_official_release_is_verified(shared_data: Path, tmp_path: Path) -> None:
    for split in SPLITS:
        with tarfile.open(shared_data / "alfworld" / f"json_2.1.1_{split}.tar.xz", "r:xz") as archive:
            archive.extractall(tmp_path, filter="data")
    verdicts = verify(tmp_path)
    assert [sum(verdict.games) for verdict in verdicts] == [3553, 140, 134]
    assert all(verdict.exact for verdict in verdicts)
