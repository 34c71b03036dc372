"""A real run whose env worker, engine and learner rank are killed goes on by itself and loses no group."""

import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.trainer.real.conftest import RUN
from tests.trainer.real.test_ends import Run
from trainer.report.metric_log import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHORT = (
    *("updates=5", "groups_per_update=1", "validation.tasks=1", "validation.every=50", "learner.optimizer_steps=1"),
    *("checkpoint.every=1", "cluster.threads=1"),
)


def children(run: Run) -> list[psutil.Process]:
    return psutil.Process(run.process.pid).children(recursive=True)


def kill(run: Run, *, engine: bool) -> None:
    """Kill the engine, or the process of the learner's rank, which has the most memory of the other actors."""
    actors: list[tuple[int, psutil.Process]] = []
    for process in children(run):
        with suppress(psutil.NoSuchProcess):
            title = " ".join(process.cmdline())
            if title.startswith("ray::_AsyncHost" if engine else "ray::_Host"):
                actors.append((process.memory_info().rss, process))
    max(actors, key=lambda actor: actor[0])[1].send_signal(signal.SIGKILL)


def kill_worker(run: Run) -> None:
    """Kill an env worker, which has the least memory of the actors."""
    hosts = [process for process in children(run) if " ".join(process.cmdline()).startswith("ray::_Host")]
    min(hosts, key=lambda process: process.memory_info().rss).kill()


def test_a_run_survives_the_death_of_a_worker_an_engine_and_a_rank(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with Run(tmp_path, "train", *RUN, *SHORT, f"output={output}") as run:
        run.wait_for("update 1/5")
        kill_worker(run)
        kill(run, engine=True)
        run.wait_for("update 3/5")
        kill(run, engine=False)
        run.wait_for("was lost: learner rank 0 died")
        run.wait_for("update 5/5")
        code, err = run.ended()
    assert (code, err) == (0, "")
    rows = read_metrics(output)[1:]
    assert [row["update"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["rollout/dropped_groups"] for row in rows] == [0.0] * 5
    assert sum(row["rollout/engine_restarts"] for row in rows) == 1
    assert sum(row["learn/restarts"] for row in rows) == 1
