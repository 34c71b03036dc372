"""A real run goes on while parts of it die and loses no group; it ends when it is told to, and leaves nothing."""

import signal
from pathlib import Path

import pytest

from scripts.chaos import Part, parts_of
from tests.trainer.real.conftest import RUN
from tests.trainer.real.own_process import GOING_ON, Run
from trainer.report.metric_log import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHORT = (
    *("updates=50", "groups_per_update=1", "validation.every=null", "learner.optimizer_steps=1", "checkpoint.every=1"),
    *("cluster.threads=1", "learner.timeout_s=20"),
)


def strike(run: Run, part: Part, how: signal.Signals) -> None:
    """Send a signal to the first of these parts."""
    next(process for name, process in parts_of(run.process.pid) if name == part).send_signal(how)


def test_a_run_survives_a_dead_worker_and_engine_and_a_rank_that_hangs_and_ends_when_it_is_terminated(
    tmp_path: Path,
) -> None:
    output = tmp_path / "run"
    with Run(tmp_path, "train", *RUN, *SHORT, f"output={output}") as run:
        run.wait_for("update 1/50")
        strike(run, "env worker", signal.SIGKILL)
        strike(run, "engine", signal.SIGKILL)
        run.wait_for("update 3/50")
        strike(run, "learner rank", signal.SIGSTOP)
        run.wait_for("was lost: no answer of learner rank 0")
        run.wait_for("update 4/50")
        run.process.send_signal(signal.SIGTERM)
        code, err = run.ended()
    rows = read_metrics(output)
    assert code == 143
    assert err in [f"stepcredit: ended by SIGTERM; {GOING_ON.format(number, output)}" for number in range(3, 7)]
    assert [row["update"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["rollout/dropped_groups"] for row in rows} == {0.0}
    assert sum(row["rollout/engine_restarts"] for row in rows) == 1
    assert sum(row["learn/restarts"] for row in rows) == 1
