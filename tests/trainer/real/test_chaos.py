"""A real run goes on by itself and loses no group while a worker and an engine are killed and a rank is stopped."""

import signal
from pathlib import Path

import pytest

from scripts.chaos import Part, parts_of
from tests.trainer.real.conftest import RUN
from tests.trainer.real.test_ends import Run
from trainer.report.metric_log import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHORT = (
    *("updates=4", "groups_per_update=1", "validation.every=null", "learner.optimizer_steps=1", "checkpoint.every=1"),
    *("cluster.threads=1", "learner.timeout_s=20"),
)


def strike(run: Run, part: Part, how: signal.Signals) -> None:
    """Send a signal to the first of these parts."""
    next(process for name, process in parts_of(run.process.pid) if name == part).send_signal(how)


def test_a_run_survives_the_death_of_a_worker_and_an_engine_and_a_rank_that_hangs(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with Run(tmp_path, "train", *RUN, *SHORT, f"output={output}") as run:
        run.wait_for("update 1/4")
        strike(run, "env worker", signal.SIGKILL)
        strike(run, "engine", signal.SIGKILL)
        run.wait_for("update 3/4")
        strike(run, "learner rank", signal.SIGSTOP)
        run.wait_for("was lost: no answer of learner rank 0")
        run.wait_for("update 4/4")
        code, err = run.ended()
    assert (code, err) == (0, "")
    rows = read_metrics(output)
    assert [row["update"] for row in rows] == [1, 2, 3, 4]
    assert [row["rollout/dropped_groups"] for row in rows] == [0.0] * 4
    assert sum(row["rollout/engine_restarts"] for row in rows) == 1
    assert sum(row["learn/restarts"] for row in rows) == 1
