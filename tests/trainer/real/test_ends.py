"""A command that is told to end ends in seconds, with one line, and nothing of it stays on the machine."""

import signal
from pathlib import Path

import pytest

from tests.trainer.real.own_process import Run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("command", "told", "name"), [("train", signal.SIGTERM, "SIGTERM"), ("quickstart", signal.SIGINT, "Ctrl-C")]
)
def test_a_command_that_is_told_to_end_while_its_parts_start_leaves_no_process(
    tmp_path: Path, command: str, told: signal.Signals, name: str
) -> None:
    with Run(tmp_path, command, "env=textcraft", "model=tiny", "cluster=cpu", f"output={tmp_path}/run") as run:
        run.wait_for("starting the engine" if command == "train" else "warm start:")
        run.process.send_signal(told)
        code, err = run.ended()
    assert code == 128 + told
    assert err.startswith(f"stepcredit: ended by {name}; ")
    assert len(err.splitlines()) == 1
