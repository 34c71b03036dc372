"""A process that is killed while it writes a checkpoint leaves the one before or the new one, whole."""

import random
import time
from contextlib import closing, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.fakes import FolderLearner
from trainer.checkpoint import FOLDER, RunState, read_state, undamaged
from trainer.saver import Saver

KILLS = 20
FORK = get_context("fork")


def word_of(update: int) -> str:
    return f"{update} " * 100_000


def write_until_killed(output: Path, first: int, written: Connection) -> None:
    """A run of nothing but checkpoints. It tells each that it knows to be written."""
    learner = FolderLearner()
    with closing(Saver(output, learner, keep=1)) as saver:  # pyright: ignore[reportArgumentType]
        for update in range(first, first + 100_000):
            learner.word = word_of(update)
            saver.start(RunState(update=update, settings={}, estimator={}, tracking=None), export=update % 2 == 0)
            written.send(update - 1)


def kill_at_random(writer: BaseProcess, messages: Connection, moments: random.Random) -> int:
    """Kill it within two checkpoints after its first. Returns the last update that it told."""
    messages.recv()  # it writes its first
    begun = time.perf_counter()
    last: int = messages.recv()
    time.sleep(moments.uniform(0.0, 2.0) * (time.perf_counter() - begun))
    writer.kill()
    writer.join()
    with suppress(EOFError):
        while True:
            last = messages.recv()
    return last


def test_twenty_kills_at_random_moments_leave_a_whole_checkpoint_each(tmp_path: Path) -> None:
    moments, update = random.Random(0), 0
    for _ in range(KILLS):
        messages, theirs = FORK.Pipe(duplex=False)
        writer = FORK.Process(target=write_until_killed, args=(tmp_path, update + 1, theirs))
        writer.start()
        theirs.close()
        told = kill_at_random(writer, messages, moments)
        folder, damaged = undamaged(tmp_path) or (tmp_path, ())
        update = read_state(folder).update
        assert damaged == ()
        assert told <= update <= told + 2  # one under way when it died, one that it did not tell any more
        learner = FolderLearner()
        learner.load(folder)
        assert learner.word == word_of(update)
        assert (folder / "model").is_dir() == (update % 2 == 0)
    with closing(Saver(tmp_path, FolderLearner("whole"), keep=1)) as saver:  # pyright: ignore[reportArgumentType]
        saver.start(RunState(update=update + 1, settings={}, estimator={}, tracking=None), export=False)
        saver.wait()
    left = [path.name for path in (tmp_path / FOLDER).iterdir() if (path / "learner").is_dir()]
    assert left == [f"update-{update + 1:06d}"]
