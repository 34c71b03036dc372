"""A command in a process of its own, from outside: what it prints, what it starts, and what is left of it."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from rollout.weights import PREFIX, SHARED_MEMORY, sweep
from tests.signals import take_signals

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-c", "from trainer.commands.main import main; main()")
GOING_ON = "go on after update-{:06d} with the same command and resume=auto output={}\n"
"""How the line of a run that ends early goes on; the update of its last checkpoint and its folder."""


class Run:
    """`stepcredit COMMAND` in a process of its own, and what it starts. At the end of the block all of it is killed."""

    def __init__(self, folder: Path, command: str, *words: str) -> None:
        sweep(SHARED_MEMORY)
        self.process = subprocess.Popen(
            [*COMMAND, command, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=take_signals,
        )
        self.family: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def wait_for(self, text: str) -> None:
        """Read standard output up to the line that has `text`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                self.family |= set(psutil.Process(self.process.pid).children(recursive=True))
                return
        raise AssertionError(f"no line with {text!r}: {self.process.communicate()[1]}")

    def ended(self) -> tuple[int, str]:
        """The exit code and standard error. Fails if a process or the weights in shared memory are left."""
        _, err = self.process.communicate(timeout=60)
        _, alive = psutil.wait_procs(list(self.family), timeout=5)
        assert [" ".join(process.cmdline())[:90] for process in alive] == []
        own = f"{PREFIX}{self.process.pid}-"  # a test beside may have killed a run just now
        assert [folder for folder in sweep(SHARED_MEMORY) if folder.name.startswith(own)] == []
        return self.process.returncode, err
