"""Compares answers by math-verify in a child process, one for all episodes and threads of this process."""

import json
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from threading import Lock

from envs.base import EnvError

_JUDGE = Path(__file__).with_name("judge.py")
_HELP = "math-verify could not be started (see its error above); install it with pip install math-verify"


class Judge:
    """Owns the child process.

    The child starts at the first comparison, which takes a second or two, and again after it has died. It ends with
    this process, because that closes the pipe it reads. cpu_seconds: processor time for one comparison.
    """

    def __init__(self, *, cpu_seconds: float = 5.0) -> None:
        self._cpu_seconds = cpu_seconds
        self._lock = Lock()
        self._child: subprocess.Popen[str] | None = None

    def equal(self, gold: str, answer: str) -> bool | None:
        """Whether an answer equals the right one; None if math-verify finds no expression in it.

        An answer that needs more processor time than allowed is wrong. Raises EnvError if the child cannot be started,
        and if something else killed it.
        """
        with self._lock:
            self._child = self._child or _start(self._cpu_seconds)
            reply = _ask(self._child, json.dumps([gold, answer]))
            if reply:
                return json.loads(reply)
            dead, self._child = self._child, None
            dead.communicate()
            if dead.returncode == -signal.SIGPROF:
                return False
            raise EnvError(f"math-verify's process ended with status {dead.returncode} before it read {answer!r}")


def judge() -> Judge:
    """The judge of this process. A forked process gets its own."""
    return _judge(os.getpid())


@cache
def _judge(process: int) -> Judge:
    return Judge()


def _start(cpu_seconds: float) -> subprocess.Popen[str]:
    # -P: the modules beside judge.py must not shadow the libraries'.
    command = [sys.executable, "-P", str(_JUDGE), str(cpu_seconds)]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", start_new_session=True)
    assert child.stdin is not None  # both are pipes
    assert child.stdout is not None
    if not child.stdout.readline():
        child.communicate()
        raise EnvError(_HELP)
    return child


def _ask(child: subprocess.Popen[str], line: str) -> str:
    """The child's reply to a line; an empty text if the child is dead."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(f"{line}\n")
        child.stdin.flush()
    except BrokenPipeError:
        return ""
    return child.stdout.readline()
