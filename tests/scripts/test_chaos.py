"""Which processes of a run are struck: told by their titles and environments, and never twice."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scripts.chaos import PARTS, Part, parts_of

RANK = {"LOCAL_WORLD_SIZE": "1"}


@contextmanager
def titled(title: str, environment: dict[str, str]) -> Iterator[int]:
    """A process that sleeps under this title. Gives its id."""
    with subprocess.Popen([title, "60"], executable="/bin/sleep", env=environment) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def parts() -> list[tuple[Part, int]]:
    return [(name, process.pid) for name, process in parts_of(os.getpid())]


@pytest.mark.parametrize(
    ("title", "environment", "part"),
    [
        ("ray::_Host.step", {}, "env worker"),
        ("ray::_Host", RANK, "learner rank"),
        ("ray::_AsyncHost.invoke", {}, "engine"),
        ("python -m rollout.apart 7", {}, "engine"),
        ("VLLM::EngineCore", RANK, "vLLM's process"),
    ],
)
def test_a_part_is_told_by_its_title_and_a_rank_by_its_environment(
    title: str, environment: dict[str, str], part: Part
) -> None:
    assert part in PARTS
    with titled(title, environment) as pid:
        assert (part, pid) in parts()
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        assert (part, pid) not in parts()


def test_other_processes_of_a_run_are_no_part_of_it() -> None:
    with titled("ray::IDLE", RANK) as pid:
        assert pid not in [process for _, process in parts()]
