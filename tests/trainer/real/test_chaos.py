"""A run that was killed goes on with the same numbers, survives the deaths of its parts, and names the one too many."""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from scripts.chaos import LOOK_S, Part, parts_of
from tests.trainer.real.conftest import RUN, Stack, unclocked
from tests.trainer.real.own_process import GOING_ON, Run
from trainer.report.metric_rows import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMITS = ("updates=50", "learner.timeout_s=40", "engine.restarts=1")


def find(run: Run, part: Part) -> psutil.Process:
    """The first of these parts, as soon as there is one."""
    while True:
        for name, process in parts_of(run.process.pid):
            if name == part:
                return process
        time.sleep(LOOK_S)


def test_a_killed_run_goes_on_with_the_same_numbers_and_survives_its_parts_until_two_engines_die_in_one_update(
    stack: Stack, run_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """The resumed part is a process of its own, with Ray, an engine, ranks and workers of its own."""
    folder, whole = tmp_path / "run", run_of("gigpo")
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints" / "update-000003")
    (folder / "checkpoints" / "latest").write_text("update-000002")
    words = ("estimator=gigpo", f"model.source={stack.policy}", f"output={folder}", "resume=auto")
    with Run(tmp_path, "train", *RUN, *words, *LIMITS) as run:
        run.wait_for("update 3/50")
        find(run, "env worker").kill()
        find(run, "engine").kill()
        run.wait_for("update 5/50")
        stays = find(run, "engine")
        find(run, "learner rank").send_signal(signal.SIGSTOP)
        run.wait_for("was lost: no answer of learner rank 0")
        run.wait_for("update 6/50")
        assert find(run, "engine") == stays
        for _ in range(2):
            engine = find(run, "engine")
            engine.kill()
            engine.wait()
        code, err = run.ended()

    rows = read_metrics(folder)
    assert unclocked(rows)[:4] == unclocked(read_metrics(whole))
    last = Path("rollouts") / "update-000003.jsonl.zst"
    assert (folder / last).read_bytes() == (whole / last).read_bytes()
    assert [row["update"] for row in rows] == list(range(len(rows)))
    resumed = rows[4:]
    assert {row["rollout/dropped_groups"] for row in resumed} == {0.0}
    assert sum(row["rollout/engine_restarts"] for row in resumed) == 1
    assert sum(row["learn/restarts"] for row in resumed) == 1

    assert code == 1
    assert len(err.splitlines()) == 1
    line, log, going_on = err.split("; ", 2)
    assert line.startswith("stepcredit: more than engine.restarts=1 lost in one update: engine 0 died during ")
    assert Path(log.removeprefix("its log is ")).exists()  # Ray's folder: it died before it had a log of its own
    assert going_on in [GOING_ON.format(number, folder) for number in range(5, 9)]
