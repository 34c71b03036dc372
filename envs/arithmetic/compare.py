"""This process's judge: the child that compares answers by math-verify, one for all episodes and threads."""

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
    """Starts its child at the first comparison, which takes a second or two, and again after the child has died.

    The child ends with this process, whose end closes the pipe that it reads. cpu_seconds: for one comparison.
    """

    def __init__(self, *, cpu_seconds: float = 5.0) -> None:
        self._cpu_seconds = cpu_seconds
        self._lock = Lock()
        self._child: subprocess.Popen[str] | None = None

    def equal(self, gold: str, answer: str) -> bool | None:
        """Whether an answer equals the right one; None where math-verify reads nothing in it.

        An answer that keeps it busy for longer than allowed is wrong. Raises EnvError where the child cannot be
        started and where it was killed by somebody else.
        """
        with self._lock:
            self._child = self._child or _start(self._cpu_seconds)
            told = _asked(self._child, json.dumps([gold, answer]))
            if told:
                return json.loads(told)
            ended, self._child = self._child, None
            ended.communicate()
            if ended.returncode == -signal.SIGPROF:
                return False
            raise EnvError(f"math-verify's process ended with status {ended.returncode} before it read {answer!r}")


def judge() -> Judge:
    """The one of this process; a forked one gets its own."""
    return _judge(os.getpid())


@cache
def _judge(process: int) -> Judge:
    return Judge()


def _start(cpu_seconds: float) -> subprocess.Popen[str]:
    # -P: the modules of its folder hide none of the libraries'.
    command = [sys.executable, "-P", str(_JUDGE), str(cpu_seconds)]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", start_new_session=True)
    assert child.stdin is not None  # both are pipes
    assert child.stdout is not None
    if not child.stdout.readline():
        child.communicate()
        raise EnvError(_HELP)
    return child


def _asked(child: subprocess.Popen[str], line: str) -> str:
    """The child's line; nothing where it is gone."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(f"{line}\n")
        child.stdin.flush()
    except BrokenPipeError:
        return ""
    return child.stdout.readline()
