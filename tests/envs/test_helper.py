"""A child process that answers lines of JSON: how it ends, and that each is like the one before."""

import pickle
from pathlib import Path

import pytest

from envs import EnvError
from envs.helper import Helper, HelperDied


def test_a_child_that_dies_is_told_from_one_that_ran_out_of_time_and_started_again(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(
        "import os, signal, sys\nprint('ready', flush=True)\nfor line in sys.stdin:\n"
        "    n = int(line)\n    os.kill(os.getpid(), n) if n else print(n, flush=True)\n"
    )
    helper = Helper(script, missing="it is missing")
    assert helper.ask(0) == 0
    for signal_number, late in ((27, True), (9, False)):
        with pytest.raises(HelperDied, match=rf"child.py ended with status -{signal_number}") as death:
            helper.ask(signal_number)
        assert death.value.out_of_time is late
        sent = pickle.loads(pickle.dumps(death.value))  # as an env worker sends it to the driver
        assert (str(sent), sent.out_of_time) == (str(death.value), late)
        assert helper.ask(0) == 0
    script.write_text("print('ready', flush=True)\nfor _ in open(0):\n    print(hash('a') % 1000, flush=True)\n")
    first, second = (Helper(script, missing="it is missing").ask(0) for _ in range(2))
    assert first == second  # a child that draws from a set of texts draws the same as the one before
    script.write_text("raise SystemExit(1)")
    with pytest.raises(EnvError, match="it is missing"):
        Helper(script, missing="it is missing").ask(0)
