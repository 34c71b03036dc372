"""A cell in a process of this machine: its start, its log, its end, and what its end means."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from trainer.cells.cell import Cell, Outcome, State, outcome_of, write_outcome
from trainer.cells.workers import Workers

PARENT = "STEPCREDIT_PARENT"
"""Environment variable that tells a command which process launched it as a cell."""
PROGRAM = (str(Path(sys.executable).with_name("stepcredit")),)
REFUSED_CODE = 2
TAIL_BYTES = 2**16  # of a log, in which its last line is looked for
SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


class Child:
    """A cell that runs in a process of this machine, in a session of its own: a terminal's Ctrl-C passes it by."""

    def __init__(
        self,
        cell: Cell,
        *,
        program: tuple[str, ...] = PROGRAM,
        gpus: tuple[str, ...] | None = None,
        workers: Workers | None = None,
    ) -> None:
        """gpus: the only ones that it sees; None leaves that as it is. workers: run it in the place of `program`."""
        self.cell = cell
        self._spent = outcome_of(cell).seconds
        self._ordered: tuple[State, str] | None = None  # what it counts as, once it was asked to end
        self._begun = time.monotonic()
        cell.folder.parent.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, PARENT: str(os.getpid())}
        if gpus is not None:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        with cell.log.open("ab") as log:
            self._offset = log.tell()
            self._process = (
                workers.run(cell.call, cell.log, env)
                if workers is not None
                else subprocess.Popen(
                    [*program, *cell.call],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=env,
                    start_new_session=True,
                )
            )

    def outcome(self) -> Outcome | None:
        """How it ended, which is also written beside its folder; None while it runs."""
        code = self._process.poll()
        return None if code is None else self._ended(code)

    def wait(self) -> Outcome:
        """The same, when it has ended."""
        return self._ended(self._process.wait())

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def end(self, state: State, line: str = "") -> None:
        """Ask the command to end in order, as Ctrl-C does. It then counts as `state`, unless it finishes first."""
        self._ordered = state, line
        self._process.send_signal(signal.SIGTERM)  # of a process that has ended, nothing happens

    def _ended(self, code: int) -> Outcome:
        if code == 0:
            state, line = State.FINISHED, ""
        elif self._ordered is not None:
            state, line = self._ordered
        else:
            state = State.REFUSED if code == REFUSED_CODE else State.FAILED
            line = self._last_line() or _died(code)
        seconds = self._spent + time.monotonic() - self._begun
        outcome = Outcome(cell=self.cell, state=state, line=line, seconds=seconds)
        write_outcome(outcome)
        return outcome

    def _last_line(self) -> str:
        """The line that the command ended with; of a program that wrote none of ours, the last one."""
        with self.cell.log.open("rb") as log:
            log.seek(max(self._offset, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        own = [line for line in lines if line.startswith("stepcredit: ")]
        return (own or lines or [""])[-1].removeprefix("stepcredit: ")


def _died(code: int) -> str:
    """What to say of a command that ended without a word."""
    return f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with exit code {code}"


def follow_parent() -> bool:
    """Of a command that was launched as a cell: end in order when its launcher dies. Whether it was launched so."""
    parent = os.environ.pop(PARENT, None)
    if parent is None:
        return False
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != int(parent):  # it has died before
        os.kill(os.getpid(), signal.SIGTERM)
    return True
