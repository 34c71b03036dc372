"""However a run ends: in seconds, with one line that tells how to go on, and nothing of it stays on the machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil
import pytest

from rollout.weights import SHARED_MEMORY, sweep
from tests.signals import take_signals
from tests.trainer.real.conftest import RUN

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SHORT = (
    *("updates=50", "groups_per_update=1", "validation.tasks=1", "validation.every=50", "learner.optimizer_steps=1"),
    "cluster.threads=1",  # a second one waits for its core, which other tests have
)
ENGINE = "ray::_AsyncHost"  # what Ray calls its process


class Run:
    """`stepcredit COMMAND` in a process of its own, and what it starts. At the end of the block all of it is killed."""

    def __init__(self, folder: Path, command: str, *words: str) -> None:
        sweep(SHARED_MEMORY)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from trainer.commands.main import main; main()", command, *words],
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
        assert sweep(SHARED_MEMORY) == []
        return self.process.returncode, err


@contextmanager
def training(folder: Path, *more: str) -> Iterator[Run]:
    """A run that has finished its first update."""
    with Run(folder, "train", *RUN, *SHORT, *more, f"output={folder}/run") as run:
        run.wait_for("update 1/50")
        yield run


GOING_ON = "go on after update-00000{} with the same command and resume=auto output={}/run\n"


def test_a_run_that_is_terminated_says_how_to_go_on_and_leaves_no_process(tmp_path: Path) -> None:
    with training(tmp_path) as run:
        run.wait_for("update 2/50")
        run.process.send_signal(signal.SIGTERM)
        code, err = run.ended()
    possible = [f"stepcredit: ended by SIGTERM; {GOING_ON.format(number, tmp_path)}" for number in (1, 2, 3)]
    assert code == 143
    assert err in possible


@pytest.mark.parametrize("command", ["train", "quickstart"])
def test_a_command_that_is_interrupted_while_its_parts_start_leaves_no_process(tmp_path: Path, command: str) -> None:
    with Run(tmp_path, command, "env=textcraft", "model=tiny", "cluster=cpu", f"output={tmp_path}/run") as run:
        run.wait_for("starting the engine" if command == "train" else "warm start:")
        run.process.send_signal(signal.SIGINT)
        code, err = run.ended()
    assert code == 130
    assert err.startswith("stepcredit: ended by Ctrl-C; ")
    assert len(err.splitlines()) == 1


def test_an_engine_that_is_killed_is_named_with_its_log_and_how_to_go_on(tmp_path: Path) -> None:
    with training(tmp_path, "engine.restarts=0") as run:
        (engine,) = [process for process in run.family if ENGINE in " ".join(process.cmdline())]
        engine.kill()
        code, err = run.ended()
    assert code == 1
    assert len(err.splitlines()) == 1
    line, log, going_on = err.split("; ", 2)
    lost = "more than engine.restarts=0 lost in one update: "
    assert line.replace(lost, "").startswith("stepcredit: engine 0 died during ")
    assert Path(log.removeprefix("its log is ")).is_file()
    assert going_on in [GOING_ON.format(number, tmp_path) for number in (1, 2)]
