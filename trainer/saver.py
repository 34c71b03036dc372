"""Checkpoints that are written while the run goes on: copied first, then written, checked, renamed, named as latest."""

import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from trainer import checkpoint, checksums
from trainer.checkpoint import RunState
from trainer.durable import files_in
from trainer.learner.driver import Learner

LOOK_S = 0.05  # between two looks whether the ranks have written their files
CLOSE_S = 3.0  # for a checkpoint under way when the run ends
SEEN_S = 600.0  # the longest wait for files that the ranks have written, as on a disk that they do not share


class CheckpointFailed(RuntimeError):
    """A checkpoint that could not be written, as on a full disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """One checkpoint that was written."""

    seconds: float
    """From the first copy until it was named as latest."""
    blocked_seconds: float
    """How long the run stood still for it: the wait for the checkpoint before, and the copies."""
    size: int
    """Bytes of its files."""


class Saver:
    """Writes one checkpoint at a time, beside the updates."""

    def __init__(self, output: Path, learner: Learner, *, keep: int) -> None:
        self.output, self.learner, self.keep = output, learner, keep
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._closing = threading.Event()
        self._partial: Path | None = None
        self._writing: Future[Saved | None] | None = None
        self._saved: list[Saved] = []

    def start(self, state: RunState, *, export: bool) -> None:
        """Copy what the checkpoint holds, with `export` also the model. Returns when the next update may change it.

        Waits for the checkpoint before. Raises CheckpointFailed.
        """
        start_s = time.perf_counter()
        self.wait()
        try:
            self._partial = checkpoint.begin(self.output, state)
            ranks = self.learner.begin_save(self._partial, export=export)
        except OSError as error:
            raise self._failed(str(error)) from error
        blocked = time.perf_counter() - start_s
        self._writing = self._thread.submit(self._complete, self._partial, ranks, start_s, blocked)

    def check(self) -> None:
        """Raise CheckpointFailed if the checkpoint under way has failed."""
        self._settle(wait=False)

    def wait(self) -> None:
        """Return when no checkpoint is under way. Raises CheckpointFailed if it failed."""
        self._settle(wait=True)

    def take(self) -> Sequence[Saved]:
        """The checkpoints that were finished since the last call."""
        saved, self._saved = self._saved, []
        return saved

    def close(self) -> None:
        """Give a checkpoint up whose files the ranks do not write within seconds."""
        if self._writing is not None:
            wait([self._writing], CLOSE_S)
        self._give_up()

    def _give_up(self) -> None:
        self._closing.set()
        self._thread.shutdown()
        self._remove_partial()

    def _remove_partial(self) -> None:
        if self._partial is not None:  # renamed already if it was finished
            shutil.rmtree(self._partial, ignore_errors=True)

    def _settle(self, *, wait: bool) -> None:
        if self._writing is None:
            return
        fault = self.learner.save_fault(wait=wait)
        if fault is not None:
            self._give_up()
            raise self._failed(fault)
        if not (wait or self._writing.done()):
            return
        try:
            saved = self._writing.result(SEEN_S)
        except OSError as error:  # TimeoutError too, which has no words
            self._closing.set()
            raise self._failed(str(error) or f"the ranks' files were not seen within {SEEN_S:g} s") from error
        self._saved += [] if saved is None else [saved]
        self._writing = None

    def _complete(self, partial: Path, ranks: int, begun: float, blocked: float) -> Saved | None:
        """Wait for the files of all ranks and make the folder a checkpoint. None where the run ends before."""
        while len(checksums.parts(partial)) < ranks:
            if self._closing.wait(LOOK_S):
                return None
        folder = checkpoint.commit(partial, keep=self.keep)
        size = sum(path.stat().st_size for path in files_in([folder]))
        return Saved(seconds=time.perf_counter() - begun, blocked_seconds=blocked, size=size)

    def _failed(self, fault: str) -> CheckpointFailed:
        """The error to raise; what was written of the checkpoint goes."""
        self._writing = None
        self._remove_partial()
        return CheckpointFailed(f"a checkpoint could not be written to {self.output / checkpoint.FOLDER} ({fault})")
