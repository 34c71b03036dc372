"""A signal ends a command in order, or at once where that takes too long: one line, one exit code, no process left."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.signals import take_signals
from trainer.config.commands import TrainConfig
from trainer.lab.learn.config import LearnConfig
from trainer.setup.go_on import how_to_go_on

ROOT = Path(__file__).parents[3]
# Starts a child with a child of its own, says so, and waits; BODY does the waiting.
PROGRAM = """
import signal, subprocess, sys, time
from trainer.commands.interrupt import Interruption
with Interruption(patience_s=PATIENCE) as interruption:
    child = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 61 & sleep 62"], start_new_session=True)
    interruption.remedy = lambda: "start it again"
    BODY
"""
UNWINDS = """
    try:
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(child.pid)])
        child.wait()
        print("closed", flush=True)
"""
HANGS = """
    try:
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        print("closing", flush=True)
        time.sleep(60)
"""
SWALLOWS = """
    print("waiting", flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            print("closing", flush=True)
"""
HANGS_AT_EXIT = """
    import atexit
    atexit.register(time.sleep, 60)
    print("waiting", flush=True)
    time.sleep(60)
"""
# As Ray does while it starts.
OTHER_HANDLER = """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
    print("waiting", flush=True)
    try:
        time.sleep(60)
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(child.pid)])
"""


class Started:
    """The program, waiting, and the processes that it started."""

    def __init__(self, body: str, *, patience_s: float) -> None:
        code = PROGRAM.replace("    BODY", body).replace("PATIENCE", str(patience_s))
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            preexec_fn=take_signals,
        )
        assert self.next_line() == "waiting"
        self.children = psutil.Process(self.process.pid).children(recursive=True)
        assert self.children

    def next_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ended(self) -> tuple[int, str, list[int]]:
        """The exit code, what it wrote on standard error, and the processes that stay."""
        _, err = self.process.communicate()
        _, alive = psutil.wait_procs(self.children, timeout=5)
        return self.process.returncode, err, [process.pid for process in alive]


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C"), (signal.SIGHUP, "SIGHUP")]
)
def test_a_signal_closes_the_parts_and_ends_with_one_line_and_the_shells_code(number: int, name: str) -> None:
    started = Started(UNWINDS, patience_s=60)
    started.process.send_signal(number)
    assert started.next_line() == "closed"
    assert started.ended() == (128 + number, f"stepcredit: ended by {name}; start it again\n", [])


@pytest.mark.parametrize("body", [HANGS, SWALLOWS])
def test_what_does_not_close_in_time_is_killed(body: str) -> None:
    started = Started(body, patience_s=0.1)
    started.process.send_signal(signal.SIGTERM)
    assert started.ended() == (143, "stepcredit: ended by SIGTERM; start it again\n", [])


def test_a_command_that_is_killed_after_its_line_was_written_does_not_write_it_again() -> None:
    started = Started(HANGS_AT_EXIT, patience_s=1)
    started.process.send_signal(signal.SIGTERM)
    assert started.ended() == (143, "stepcredit: ended by SIGTERM; start it again\n", [])


def test_a_second_signal_does_not_wait() -> None:
    started = Started(HANGS, patience_s=3600)
    started.process.send_signal(signal.SIGINT)
    assert started.next_line() == "closing"
    started.process.send_signal(signal.SIGINT)
    assert started.ended() == (130, "stepcredit: ended by Ctrl-C; start it again\n", [])


def test_a_signal_that_a_library_takes_ends_the_command_all_the_same() -> None:
    started = Started(OTHER_HANDLER, patience_s=60)
    started.process.send_signal(signal.SIGTERM)
    assert started.ended() == (143, "stepcredit: ended by SIGTERM; start it again\n", [])


def test_a_signal_that_was_to_be_ignored_is_ignored() -> None:
    code = "from trainer.commands.interrupt import Interruption\nimport os, signal\nwith Interruption():\n"
    code += "    os.kill(os.getpid(), signal.SIGHUP)\nprint('went on')"
    nohup = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-c", code]
    ended = subprocess.run(nohup, capture_output=True, text=True, cwd=ROOT, check=True)
    assert ended.stdout == "went on\n"


def test_without_a_signal_the_handlers_are_as_before() -> None:
    code = "from trainer.commands.interrupt import SIGNALS, Interruption\nimport signal\n"
    code += "before = [signal.getsignal(n) for n in SIGNALS]\nwith Interruption():\n    pass\n"
    code += "print(before == [signal.getsignal(n) for n in SIGNALS])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ended.stdout == "True\n"


def test_the_line_tells_how_to_go_on_where_there_is_a_checkpoint(tmp_path: Path) -> None:
    config: TrainConfig = object.__new__(TrainConfig)
    object.__setattr__(config, "output", str(tmp_path))
    assert how_to_go_on(config) == "it has no checkpoint yet: start it again"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "latest").write_text("update-000004")
    line = f"go on after update-000004 with the same command and resume=auto output={tmp_path}"
    assert how_to_go_on(config) == line
    assert how_to_go_on(object()) == "start it again"
    learning = LearnConfig(output="curves")
    assert how_to_go_on(learning) == "go on with the same command and resume=auto output=curves"
    assert how_to_go_on(replace(learning, resume="auto")) == "start it again"
