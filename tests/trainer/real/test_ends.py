"""A command that is told to end ends in seconds, with one line, and nothing of it stays on the machine."""

import signal
from pathlib import Path

import pytest

from tests.trainer.real.conftest import RUN
from tests.trainer.real.own_process import GOING_ON, Run

pytestmark = pytest.mark.slow

SHORT = ("updates=50", "groups_per_update=1", "validation.every=null", "learner.optimizer_steps=1")


@pytest.mark.parametrize("command", ["train", "quickstart"])
def test_a_command_that_is_interrupted_while_its_parts_start_leaves_no_process(tmp_path: Path, command: str) -> None:
    with Run(tmp_path, command, "env=textcraft", "model=tiny", "cluster=cpu", f"output={tmp_path}/run") as run:
        run.wait_for("starting the engine" if command == "train" else "warm start:")
        run.process.send_signal(signal.SIGINT)
        code, err = run.ended()
    assert code == 130
    assert err.startswith("stepcredit: ended by Ctrl-C; ")
    assert len(err.splitlines()) == 1


def test_a_run_that_is_terminated_says_how_it_goes_on_and_leaves_no_process(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with Run(tmp_path, "train", *RUN, *SHORT, f"output={output}") as run:
        run.wait_for("update 2/50")
        run.process.send_signal(signal.SIGTERM)
        code, err = run.ended()
    assert code == 143
    assert err in [f"stepcredit: ended by SIGTERM; {GOING_ON.format(number, output)}" for number in range(1, 5)]
