"""A checkpoint is complete or absent, whenever the process dies; a checkpoint of another run is refused."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FolderLearner
from trainer import checkpoint, checksums
from trainer.checkpoint import FOLDER, TRACKER, RunState, latest, newest_export, read_state, undamaged
from trainer.config.build import ConfigError


def state(update: int, **settings: Any) -> RunState:
    return RunState(update=update, settings=settings, estimator={"name": "gigpo", "omega": 0.5}, tracking="a1b2")


def save(output: Path, update: int, *, keep: int = 2, export: bool = True) -> Path:
    partial = checkpoint.begin(output, state(update))
    FolderLearner(f"weights {update}").begin_save(partial, export=export)
    return checkpoint.commit(partial, keep=keep)


def saved(output: Path) -> list[str]:
    return sorted(path.name for path in (output / FOLDER).glob("update-*"))


class Killed(BaseException):
    """An exception that no code catches, as a SIGKILL."""


def kill_at(moment: int, patch: pytest.MonkeyPatch) -> list[str]:
    """Die just before disk operation number `moment`, or half way through a write. Returns the operations."""
    effects: list[str] = []

    def dying(name: str, effect: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if len(effects) == moment:
                if name == "write_text":
                    effect(args[0], args[1][: len(args[1]) // 2])
                raise Killed
            effects.append(name)
            return effect(*args, **kwargs)

        return run

    for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "write_text"), (shutil, "rmtree")):
        patch.setattr(owner, name, dying(name, getattr(owner, name)))
    return effects


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    folder = save(tmp_path, 3)
    learner = FolderLearner()
    learner.load(folder)
    assert latest(tmp_path) == folder
    assert read_state(folder) == state(3)
    assert learner.word == "weights 3"
    assert (folder / "model" / "config.json").read_text() == "weights 3"


def test_a_run_without_a_checkpoint_starts_fresh(tmp_path: Path) -> None:
    assert latest(tmp_path) is None


def test_checkpoints_that_were_copied_without_the_name_of_the_latest_are_no_fresh_run(tmp_path: Path) -> None:
    save(tmp_path, 3)
    newest = save(tmp_path, 12)
    (newest.parent / "latest").unlink()
    assert latest(tmp_path) == newest


def test_a_kill_at_any_moment_leaves_the_old_checkpoint_or_the_new_one(tmp_path: Path) -> None:
    updates: list[int] = []
    for moment in range(1000):
        output = tmp_path / str(moment)
        save(output, 1, keep=1)
        with pytest.MonkeyPatch.context() as patch:
            effects = kill_at(moment, patch)
            with contextlib.suppress(Killed):
                save(output, 2, keep=1)
        folder = latest(output)
        assert folder is not None
        update = read_state(folder).update
        files = [path.read_text() for path in (folder / "learner" / "rank0.pt", folder / "model" / "config.json")]
        assert files == [f"weights {update}"] * 2, f"killed at {effects}"
        updates.append(update)
        save(output, 2, keep=1)  # the next process succeeds
        assert [path.name for path in (output / FOLDER).iterdir() if path.is_dir()] == ["update-000002"]
        if len(effects) < moment:
            break
    assert updates == sorted(updates)
    assert set(updates) == {1, 2}
    assert len(updates) > 10


def test_a_kill_while_a_damaged_checkpoint_is_written_again_leaves_the_one_before_it(tmp_path: Path) -> None:
    updates: list[int] = []
    for moment in range(1000):
        output = tmp_path / str(moment)
        save(output, 1)
        cut(save(output, 2) / "learner" / "rank0.pt")
        with pytest.MonkeyPatch.context() as patch:
            effects = kill_at(moment, patch)
            with contextlib.suppress(Killed):
                save(output, 2)
        folder, _ = undamaged(output) or (None, ())
        assert folder is not None
        updates.append(read_state(folder).update)
        assert (folder / "learner" / "rank0.pt").read_text() == f"weights {updates[-1]}", f"killed at {effects}"
        if len(effects) < moment:
            break
    assert updates == sorted(updates)
    assert set(updates) == {1, 2}


def test_where_the_latest_checkpoint_is_not_there_the_one_before_is_taken(tmp_path: Path) -> None:
    before = save(tmp_path, 1)
    shutil.rmtree(save(tmp_path, 2))
    assert undamaged(tmp_path) == (before, ("checkpoint update-000002 is named as the latest and is not there",))


def test_everything_is_synced_before_it_gets_its_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[Path] = set()
    unsynced: list[Path] = []
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(descriptor: int) -> None:
        synced.add(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def watched_rename(path: Path, target: Path) -> Path:
        unsynced.extend(each for each in (path, *path.rglob("*")) if each not in synced)
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    save(tmp_path, 1)
    assert unsynced == []
    assert tmp_path / FOLDER in synced


def test_files_of_a_killed_save_do_not_get_into_the_next_checkpoint(tmp_path: Path) -> None:
    rank = tmp_path / FOLDER / ".update-000001.partial" / "learner" / "rank7.pt"
    rank.parent.mkdir(parents=True)
    rank.write_text("of a run with more ranks")
    folder = save(tmp_path, 1)
    assert [path.name for path in (folder / "learner").iterdir()] == ["rank0.pt"]


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for update in (5, 10, 1000):
        save(tmp_path, update, keep=2)
    assert saved(tmp_path) == ["update-000010", "update-001000"]


def test_an_export_outlives_the_checkpoint_it_was_made_with(tmp_path: Path) -> None:
    for update in range(1, 10):
        save(tmp_path, update, keep=2, export=update % 3 == 0)
    assert saved(tmp_path) == ["update-000006", "update-000008", "update-000009"]
    assert [path.name for path in (tmp_path / FOLDER / "update-000006").iterdir()] == ["model"]
    assert not (tmp_path / FOLDER / "update-000008" / "model").exists()
    assert newest_export(tmp_path) == tmp_path / FOLDER / "update-000009" / "model"
    cut(tmp_path / FOLDER / "update-000009" / "learner" / "rank0.pt")
    taken, faults = undamaged(tmp_path) or (None, ())
    assert (taken, len(faults)) == (tmp_path / FOLDER / "update-000008", 1)


def test_where_only_exports_are_left_besides_a_damaged_checkpoint_none_is_taken(tmp_path: Path) -> None:
    for update in (1, 2):
        save(tmp_path, update, keep=1)
    save(tmp_path, 3, keep=1, export=False)
    assert saved(tmp_path) == ["update-000002", "update-000003"]
    cut(tmp_path / FOLDER / "update-000003" / "learner" / "rank0.pt")
    with pytest.raises(ConfigError, match=r"update-000003 is damaged: .* bytes: start anew"):
        undamaged(tmp_path)


def test_a_run_that_went_back_keeps_its_own_checkpoint_and_does_not_delete_later_ones(tmp_path: Path) -> None:
    for update in (10, 20):
        save(tmp_path, update, keep=2)
    (tmp_path / FOLDER / TRACKER).write_text("update-000010")
    folder = save(tmp_path, 15, keep=1)
    assert latest(tmp_path) == folder
    assert saved(tmp_path) == ["update-000015", "update-000020"]


def test_a_tracker_that_names_nothing_is_refused(tmp_path: Path) -> None:
    shutil.rmtree(save(tmp_path, 1) / "learner")
    (tmp_path / FOLDER / "update-000001" / checkpoint.STATE).unlink()
    with pytest.raises(ConfigError, match="names update-000001, which is not there: write the name of another"):
        latest(tmp_path)


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["learner/rank0.pt", "model/config.json"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [(Path.unlink, "is missing"), (cut, "has .* bytes"), (flip, "has other bytes than were written")],
    ids=["missing", "cut", "flipped"],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_and_named(
    tmp_path: Path, file: str, spoil: Callable[[Path], None], said: str
) -> None:
    before = save(tmp_path, 1)
    assert undamaged(tmp_path) == (before, ())
    folder = save(tmp_path, 2)
    spoil(folder / file)
    taken, faults = undamaged(tmp_path) or (None, ())
    assert taken == before
    assert [bool(re.fullmatch(f"checkpoint update-000002 is damaged: {file} {said}", fault)) for fault in faults] == [1]


def test_where_every_checkpoint_is_damaged_none_is_taken(tmp_path: Path) -> None:
    for update in (1, 2):
        cut(save(tmp_path, update) / "learner" / "rank0.pt")
    with pytest.raises(ConfigError, match=r"update-000002 is damaged.*update-000001 is damaged.*another output folder"):
        undamaged(tmp_path)


def test_a_checkpoint_of_before_there_were_checksums_is_taken(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    (folder / checksums.FILE).unlink()
    assert undamaged(tmp_path) == (folder, ())


@pytest.mark.parametrize("text", ["{", "[]", '{"update": 1}', '{"update": 1, "unknown": 2}'])
def test_a_broken_state_is_refused(tmp_path: Path, text: str) -> None:
    folder = save(tmp_path, 1)
    (folder / checkpoint.STATE).write_text(text)
    with pytest.raises(ConfigError, match=rf"{folder}/state.json is broken .*: resume from another checkpoint"):
        read_state(folder)


def test_a_checkpoint_from_before_a_setting_was_renamed_is_read_under_its_new_name(tmp_path: Path) -> None:
    partial = checkpoint.begin(tmp_path, state(1, patience=2, seed=0))
    folder = checkpoint.commit(partial, keep=1)
    assert read_state(folder).settings == {"max_idle_turns": 2, "seed": 0}
