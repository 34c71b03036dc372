"""The index of an official folder: what it contains, what it omits, and when it is rebuilt."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from envs import EnvError
from envs.alfworld import index as index_module
from envs.alfworld.fetch import OFFICIAL
from envs.alfworld.generate import write_households
from envs.alfworld.household import Households
from envs.alfworld.index import TASK_TYPES, Entry, open_index, release_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release folder of nine games, with a cache of its own."""
    monkeypatch.setenv("STEPCREDIT_CACHE", str(tmp_path / "cache"))
    write_households(Households(train=7, held_out=1, receptacles=9, objects=11), tmp_path)
    return tmp_path / "json_2.1.1"


def fresh(folder: Path) -> index_module.Index:
    """The index, built or read from the cache as in a new process."""
    open_index.cache_clear()
    return open_index(folder)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The game files that were read."""
    read: list[Path] = []
    original = index_module.load_record

    def counting(path: Path) -> dict[str, object]:
        read.append(path)
        return original(path)

    monkeypatch.setattr(index_module, "load_record", counting)
    return read


def test_official_validation_games_by_type(alfworld_data: Path) -> None:
    index = fresh(release_folder(alfworld_data))
    for split in ("valid_seen", "valid_unseen"):
        counts = Counter(index.entries[task].task_type for task in index.split(split))
        assert tuple(counts[task_type] for task_type in TASK_TYPES) == OFFICIAL[split].games
    assert index.skipped == {}


def test_an_entry_tells_type_and_size(folder: Path) -> None:
    index = fresh(folder)
    task = index.split("train")[0]
    task_type = task.split("/")[1].partition("-")[0]
    assert index.entries[task] == Entry(task_id=task, task_type=task_type, receptacles=9, objects=11)


def test_task_ids_are_sorted_whatever_the_file_system_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Path.glob

    def backwards(self: Path, pattern: str) -> list[Path]:
        return sorted(listed(self, pattern), reverse=True)

    monkeypatch.setattr(Path, "glob", backwards)
    train = fresh(folder).split("train")
    assert list(train) == sorted(train)
    assert len(train) == 7


def test_the_games_are_read_once_and_then_come_from_the_cache(folder: Path, builds: list[Path]) -> None:
    first = fresh(folder)
    assert len(builds) == 9
    assert fresh(folder) == first
    assert len(builds) == 9


def test_a_changed_an_added_and_a_removed_game_are_noticed(folder: Path, builds: list[Path]) -> None:
    first = fresh(folder)
    game = folder / first.split("train")[0] / "game.tw-pddl"
    game.write_text(game.read_text() + " ")
    assert fresh(folder) == first
    assert len(builds) == 18
    shutil.copytree(game.parent, game.parent.with_name("trial_copy"))
    assert len(fresh(folder).entries) == 10
    shutil.rmtree(game.parent.with_name("trial_copy"))
    shutil.rmtree(game.parent)
    assert len(fresh(folder).entries) == 8


def test_a_damaged_cache_is_built_anew(folder: Path, tmp_path: Path) -> None:
    first = fresh(folder)
    (cache,) = (tmp_path / "cache" / "alfworld").iterdir()
    cache.write_text(cache.read_text()[:50])
    assert fresh(folder) == first


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEPCREDIT_CACHE", str(tmp_path / "file"))
    assert len(fresh(folder).entries) == 9


def test_movable_sliced_and_unsolvable_games_are_left_out_and_counted(folder: Path) -> None:
    train = fresh(folder).split("train")
    sliced = (folder / train[0]).parent
    sliced.rename(sliced.with_name(f"{sliced.name}Sliced"))
    for task in train[-2:]:
        game = folder / task / "game.tw-pddl"
        game.write_text(json.dumps({**json.loads(game.read_text()), "solvable": False}))
    index = fresh(folder)
    assert index.skipped["not solvable"] == 2
    assert index.skipped["movable or sliced"] >= 1
    assert len(index.split("train")) == 7 - sum(index.skipped.values())


@pytest.mark.parametrize("content", [None, "{", "{}", '{"task_type": "fly"}'])
def test_details_that_are_missing_or_broken_are_refused(folder: Path, content: str | None) -> None:
    details = folder / fresh(folder).split("train")[0] / "traj_data.json"
    details.unlink()
    if content is not None:
        details.write_text(content)
    game = details.with_name("game.tw-pddl")
    game.write_text(game.read_text() + " ")
    with pytest.raises(EnvError, match=r"traj_data\.json"):
        fresh(folder)


def test_the_release_folder_itself_may_be_given(folder: Path) -> None:
    assert release_folder(folder) == release_folder(folder.parent) == folder
