"""A child process that answers lines of JSON: for libraries that no limit can interrupt from within."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from envs.base import EnvError


class HelperDied(EnvError):
    """The child ended before it answered."""

    def __init__(self, script: str, status: int) -> None:
        super().__init__(script, status)  # by which it is made again in the process that asked
        self.out_of_time = status == -signal.SIGPROF
        """Whether it ended because one answer took more processor time than it allows itself (ITIMER_PROF)."""

    def __str__(self) -> str:
        script, status = self.args
        return f"the process of {script} ended with status {status} before it answered"


class Helper:
    """Owns the child, one for all episodes and threads of this process.

    The child starts at the first question, and again after it has died. It ends with this process, because that closes
    the pipe that it reads. It writes a line once it is ready, and then one for each line that it reads.
    """

    def __init__(self, script: Path, *words: str, missing: str, first: Sequence[Any] = ()) -> None:
        """words: arguments of the script. missing: the error's text where it does not start. first: what each child is
        told at its start; its answers are not read."""
        self._script, self._words, self._missing, self._first = script, words, missing, first
        self._lock = Lock()
        self._child: subprocess.Popen[str] | None = None

    def ask(self, question: Any) -> Any:
        """The child's answer, a JSON value. Raises HelperDied, and EnvError where it cannot be started."""
        with self._lock:
            self._child = self._child or self._started()
            reply = _ask(self._child, question)
            if reply:
                return json.loads(reply)
            dead, self._child = self._child, None
            dead.communicate()
            raise HelperDied(self._script.name, dead.returncode)

    def _started(self) -> subprocess.Popen[str]:
        # -P: the modules beside the script must not shadow the libraries'.
        command, pipe = [sys.executable, "-P", str(self._script), *self._words], subprocess.PIPE
        child = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},  # some libraries draw from sets of texts
        )
        assert child.stdout is not None  # a pipe
        if not child.stdout.readline() or not all(_ask(child, question) for question in self._first):
            child.communicate()
            raise EnvError(self._missing)
        return child


def _ask(child: subprocess.Popen[str], question: Any) -> str:
    """The child's line of reply; an empty text if it is dead."""
    assert child.stdin is not None  # both are pipes
    assert child.stdout is not None
    try:
        child.stdin.write(f"{json.dumps(question)}\n")
        child.stdin.flush()
    except BrokenPipeError:
        return ""
    return child.stdout.readline()
