"""Runs a program and its tests in a child process with limits, and tells how each test ended."""

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import IO

from envs.base import EnvError

_RUNNER = Path(__file__).with_name("runner.py")
_MOST_REPLY = 2**20  # bytes, besides the tests
_REMEMBERED = 1024  # programs, a kilobyte each where tests are short
_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH")  # of our variables; others may hold keys, and a program could tell them
_START_SECONDS = 30  # to start a process on a machine that is busy; then it is no program's fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program and all its tests together may take. Raises EnvError for values out of range."""

    cpu_seconds: int = 2
    """Processor time."""

    memory_mib: int = 512
    """Address space, the interpreter's own 30 MiB among it."""

    def __post_init__(self) -> None:
        for name, least in (("cpu_seconds", 1), ("memory_mib", 128)):
            if (value := getattr(self, name)) < least:
                raise EnvError(f"code cannot run with {name}={value}; give {least} or more")

    @property
    def seconds(self) -> int:
        """Time on the clock: a program that waits is ended too."""
        return 5 + 5 * self.cpu_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one test ended."""

    passed: bool
    """Whether it raised nothing."""

    text: str
    """The test and what went wrong; empty if it passed."""


class _EndedEarly(Exception):
    """The process was ended before its last test, perhaps because the machine was busy."""

    def __init__(self, verdicts: tuple[Verdict, ...]) -> None:
        self.verdicts = verdicts


def run(
    program: str, *, setup: str, tests: Sequence[str], limits: Limits, asked: Collection[str] = ()
) -> tuple[Verdict, ...]:
    """The verdicts, in the order of the tests. A test that the process did not live to finish has failed.

    asked: the names that the tests take from the program even where Python has such a name of its own (`sum`).
    A program that came to its end is remembered: small policies write the same one again and again. Raises EnvError if
    the process could not be started.
    """
    try:
        return _run(program, setup, tuple(tests), tuple(sorted(asked)), limits)
    except _EndedEarly as error:
        return error.verdicts


@lru_cache(maxsize=_REMEMBERED)
def _run(
    program: str, setup: str, tests: tuple[str, ...], asked: tuple[str, ...], limits: Limits
) -> tuple[Verdict, ...]:
    """As `run`, in a process. Raises _EndedEarly, which is not remembered."""
    token = secrets.token_hex(8)
    request = {
        "program": program,
        "setup": setup,
        "tests": tests,
        "asked": asked,
        "token": token,
        "memory_bytes": limits.memory_mib * 2**20,
        "cpu_seconds": limits.cpu_seconds,
        "seconds": limits.seconds,
    }
    # -I and -S: nothing but the standard library. A session of its own, so that a signal for ours does not reach it.
    command, pipe = [sys.executable, "-I", "-S", str(_RUNNER)], subprocess.PIPE
    try:
        child = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
        )
    except OSError as error:
        raise EnvError(f"no process could be started to run a program ({error.strerror}): free memory") from error
    assert child.stdin is not None  # both are pipes
    assert child.stdout is not None
    try:
        output = _exchange(child.stdin, child.stdout, json.dumps(request).encode(), _START_SECONDS + limits.seconds)
    finally:
        with suppress(subprocess.TimeoutExpired):  # its pipe closes a moment before it has ended
            child.wait(1)
        code = child.returncode
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    verdicts = _verdicts(output, token, tests, _ended(code, limits))
    if code != 0:
        raise _EndedEarly(verdicts)
    return verdicts


def _exchange(stdin: IO[bytes], stdout: IO[bytes], asked: bytes, seconds: float) -> bytes:
    """What the child writes until it ends, for so long at most, or until it has written too much."""
    until = time.monotonic() + seconds
    with suppress(BrokenPipeError):
        stdin.write(asked)
        stdin.close()
    output, descriptor = b"", stdout.fileno()
    most = len(asked) + _MOST_REPLY  # a test that failed comes back whole
    while len(output) < most and select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
        piece = os.read(descriptor, 2**16)
        if not piece:
            break
        output += piece
    return output


def _ended(code: int | None, limits: Limits) -> str:
    """Why a process left tests without a line. code: its exit code; None while it runs."""
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return f"the program took more than {limits.cpu_seconds} s"
    return f"the program waited for {limits.seconds} s" if code == -signal.SIGALRM else "the program ended its process"


def _verdicts(output: bytes, token: str, tests: Sequence[str], ended: str) -> tuple[Verdict, ...]:
    first, *lines = output.split(b"\n")[:-1] or [b""]  # what is behind the last end of line was cut
    if not first:
        raise EnvError(f"{sys.executable} could not be started to run a program; free memory or processes")
    if not json.loads(first)["namespaces"]:
        _say_weaker()
    ours = [line for line in lines if line.startswith(f'["{token}", '.encode())][: len(tests)]
    verdicts = [Verdict(passed=passed, text=text) for _, passed, text in map(json.loads, ours)]
    return (*verdicts, *(Verdict(passed=False, text=f"{test}\n{ended}") for test in tests[len(verdicts) :]))


@cache
def _say_weaker() -> None:
    warnings.warn(
        "this machine grants no user namespaces, so programs of env=code are held by limits and an audit hook only; "
        "run in a container that nothing else lives in, see docs/worlds/code.md",
        RuntimeWarning,
        stacklevel=1,
    )
