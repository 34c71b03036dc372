"""Processes that run cells one after another and keep the parts of a run up, as whoever launches the cells sees them.

The other side of `trainer.commands.cell_worker`.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

PROGRAM = (sys.executable, "-P", "-m", "trainer.commands.cell_worker")  # -P: no folder `trainer` here hides ours
ENDING_S = 30.0  # for a worker without orders to close its parts


class Worker:
    """One such process."""

    def __init__(self, env: Mapping[str, str], program: Sequence[str] = PROGRAM) -> None:
        self.env = env
        self.is_ending = False
        """Whether it was told to end, so that it takes no further order."""
        self.process = subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            start_new_session=True,
        )

    def order(self, words: Sequence[str], log: Path) -> "Errand":
        """Have it run a command. Raises BrokenPipeError where it has ended."""
        orders = cast(IO[bytes], self.process.stdin)
        orders.write(json.dumps({"words": list(words), "log": str(log.absolute())}).encode() + b"\n")
        orders.flush()
        return Errand(self)

    def end(self) -> None:
        """Let it close its parts and end; kill it where it does not."""
        with suppress(BrokenPipeError):
            cast(IO[bytes], self.process.stdin).close()
        try:
            self.process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        cast(IO[bytes], self.process.stdout).close()


class Errand:
    """A command that a worker runs, as `subprocess.Popen` shows one that has a process of its own."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._code, self._read = worker, None, b""

    def poll(self) -> int | None:
        """The exit code of the command; that of the worker where it ended in the middle. None while it runs."""
        return self._look(0.0)

    def wait(self) -> int:
        """The same, when it has ended."""
        while (code := self._look(None)) is None:
            pass
        return code

    def send_signal(self, number: int) -> None:
        """End the command, and the worker with it."""
        if self._code is None:
            self._worker.is_ending = True
            self._worker.process.send_signal(number)

    def _look(self, wait_s: float | None) -> int | None:
        """Read whether the worker has ended its cell, and with which code; None while it works.

        wait_s: for the worker to write something; None waits for ever.
        """
        answers = cast(IO[bytes], self._worker.process.stdout)
        while self._code is None and select.select([answers], [], [], wait_s)[0]:
            read = os.read(answers.fileno(), 4096)
            self._read += read
            if self._read.endswith(b"\n"):
                self._code = int(json.loads(self._read)["code"])
            elif not read:
                self._code = self._worker.process.wait() or 1  # 0 would be its word for a command that finished
        return self._code


class Workers:
    """Gives each command to a worker that has none: one of the same environment, or else a new one."""

    def __init__(self, program: Sequence[str] = PROGRAM) -> None:
        self._program = program
        self._held: list[tuple[Worker, Errand]] = []

    def run(self, words: Sequence[str], log: Path, env: Mapping[str, str]) -> Errand:
        """Start a command. Idle workers of another environment end before: they hold what this one may need."""
        pairs, self._held, ready = self._held, [], list[tuple[Worker, Errand]]()
        for worker, errand in pairs:
            if errand.poll() is None:
                self._held.append((worker, errand))
            elif worker.env == env and not worker.is_ending and worker.process.poll() is None:
                ready.append((worker, errand))
            else:
                worker.end()
        self._held += ready[1:]
        worker = ready[0][0] if ready else Worker(env, self._program)
        errand = worker.order(words, log)
        self._held.append((worker, errand))
        return errand

    def close(self) -> None:
        """End all workers."""
        pairs, self._held = self._held, []
        for worker, _ in pairs:
            worker.end()
