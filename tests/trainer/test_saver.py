"""A checkpoint is written beside the updates; what it fails of is raised by name, and no half of it is taken."""

import errno
import os
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes import FolderLearner
from trainer import checkpoint, checksums, saver
from trainer.checkpoint import RunState, latest, read_state
from trainer.saver import CheckpointFailed, Saver


class SlowLearner(FolderLearner):
    """Its ranks write when they are let."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.unwritten: list[tuple[str, Path, bool]] = []

    def begin_save(self, folder: Path, *, export: bool) -> int:
        self.unwritten.append((self.word, folder, export))
        return 1

    def save_fault(self, *, wait: bool) -> str | None:
        if wait:
            self.write()
        return self.fault

    def write(self) -> None:
        while self.unwritten:
            word, folder, export = self.unwritten.pop(0)
            FolderLearner(word).begin_save(folder, export=export)


class FullLearner(FolderLearner):
    """One of its ranks cannot make its files."""

    def begin_save(self, folder: Path, *, export: bool) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def state(update: int) -> RunState:
    return RunState(update=update, settings={}, estimator={}, tracking=None)


def resumed(output: Path) -> tuple[int, str]:
    """The update and the word that a resume finds."""
    folder, learner = latest(output), FolderLearner()
    assert folder is not None
    learner.load(folder)
    return read_state(folder).update, learner.word


def saver_of(output: Path, learner: FolderLearner) -> closing[Saver]:
    return closing(Saver(output, learner, keep=2))  # pyright: ignore[reportArgumentType]


def partials(output: Path) -> list[str]:
    return [path.name for path in (output / checkpoint.FOLDER).glob(".*")]


def test_a_run_goes_on_while_its_checkpoint_is_written_and_changes_nothing_of_it(tmp_path: Path) -> None:
    learner = SlowLearner("one")
    with saver_of(tmp_path, learner) as writing:
        writing.start(state(1), export=True)
        learner.word = "two"  # the next update
        writing.check()
        assert (latest(tmp_path), writing.take()) == (None, [])
        writing.wait()
        (saved,) = writing.take()
    assert resumed(tmp_path) == (1, "one")
    assert 0 < saved.blocked_seconds <= saved.seconds
    assert saved.size == sum(
        path.stat().st_size for path in (tmp_path / checkpoint.FOLDER).rglob("*/*") if path.is_file()
    )


def test_the_next_checkpoint_waits_for_the_one_before(tmp_path: Path) -> None:
    learner = SlowLearner("one")
    with saver_of(tmp_path, learner) as writing:
        writing.start(state(1), export=False)
        learner.word = "two"
        writing.start(state(2), export=False)
        assert resumed(tmp_path) == (1, "one")
        writing.wait()
        assert len(writing.take()) == 2
    assert resumed(tmp_path) == (2, "two")


def test_a_checkpoint_is_named_as_latest_when_its_last_file_is_written_and_not_at_the_next_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = threading.Event()
    commit = checkpoint.commit

    def watched(partial: Path, *, keep: int) -> Path:
        try:
            return commit(partial, keep=keep)
        finally:
            committed.set()

    monkeypatch.setattr(checkpoint, "commit", watched)
    with saver_of(tmp_path, FolderLearner("one")) as writing:
        writing.start(state(1), export=False)
        assert committed.wait(60)
        assert resumed(tmp_path) == (1, "one")


@pytest.mark.parametrize("when", ["check", "wait", "start"])
def test_what_a_rank_could_not_write_is_raised_and_the_checkpoint_before_stays(tmp_path: Path, when: str) -> None:
    learner = FolderLearner("one")
    with saver_of(tmp_path, learner) as writing:
        writing.start(state(1), export=False)
        writing.wait()
        learner.fault = "[Errno 28] No space left on device"
        writing.start(state(2), export=False)
        call = {"check": writing.check, "wait": writing.wait, "start": lambda: writing.start(state(3), export=False)}[
            when
        ]
        with pytest.raises(CheckpointFailed, match=rf"{tmp_path}/checkpoints .*No space left on device"):
            call()
    assert resumed(tmp_path) == (1, "one")
    assert partials(tmp_path) == []


def test_files_that_the_driver_never_sees_are_not_waited_for_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "SEEN_S", 0.01)
    monkeypatch.setattr(SlowLearner, "write", lambda _: None)
    with saver_of(tmp_path, SlowLearner("one")) as writing:
        writing.start(state(1), export=False)
        with pytest.raises(CheckpointFailed, match=r"were not seen within 0\.01 s"):
            writing.wait()
    assert (latest(tmp_path), partials(tmp_path)) == (None, [])


def test_a_disk_that_is_full_when_the_checkpoint_begins_is_raised_too(tmp_path: Path) -> None:
    (tmp_path / checkpoint.FOLDER).mkdir()
    with saver_of(tmp_path, FullLearner()) as writing, pytest.raises(CheckpointFailed, match="No space left on device"):
        writing.start(state(1), export=False)
    assert partials(tmp_path) == []


def test_what_the_driver_could_not_write_is_raised_and_the_checkpoint_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with saver_of(tmp_path, FolderLearner("one")) as writing:
        writing.start(state(1), export=False)
        writing.wait()
        monkeypatch.setattr(checksums, "join", no_space)
        writing.start(state(2), export=False)
        with pytest.raises(CheckpointFailed, match="No space left on device"):
            writing.wait()
    assert resumed(tmp_path) == (1, "one")
    assert partials(tmp_path) == []


def test_a_checkpoint_whose_files_are_written_is_kept_when_the_run_ends_and_another_is_given_up(tmp_path: Path) -> None:
    with saver_of(tmp_path / "written", FolderLearner("one")) as writing:
        writing.start(state(1), export=False)
    assert resumed(tmp_path / "written") == (1, "one")
    with saver_of(tmp_path / "not", SlowLearner("one")) as writing:
        writing.start(state(1), export=False)
    assert latest(tmp_path / "not") is None
