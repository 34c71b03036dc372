"""Cells run once each, as many at once as there is room for; one that is refused or fails stops no other."""

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from tests.signals import take_signals
from trainer.cells.cell import Cell, Outcome, State, cell_of, room_of
from trainer.cells.index import Index, earlier_cells, terminal
from trainer.cells.launch import Here, Watcher, exit_code, run_cells
from trainer.cells.launcher import Launcher
from trainer.config.build import ConfigError
from trainer.config.settings import ClusterConfig
from trainer.report.progress import Display

ROOT = Path(__file__).parents[3]
# Stands for `stepcredit`: does what the word do=... says, and adds a line to the file that all cells share.
PROGRAM = """
import os, pathlib, sys, time
from trainer.cells.child import follow_parent
follow_parent()
words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
folder = pathlib.Path(words["output"].strip("'"))
with (folder.parent / "told").open("a") as told:
    told.write(words["do"] + " " + os.environ.get("CUDA_VISIBLE_DEVICES", "-") + "\\n")
if words["do"].startswith("refuse"):
    print("stepcredit: seed=-1: must be 0 or more", file=sys.stderr)
    sys.exit(2)
folder.mkdir(exist_ok=True)
(folder / "begun").touch()
if words["do"].startswith("fail"):
    print("noise\\nstepcredit: an engine died", file=sys.stderr)
    sys.exit(1)
if words["do"].startswith("hang"):
    time.sleep(600)
"""


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return site(tmp_path)


def site(folder: Path, parallel: int = 1, gpus: Sequence[str] = (), cpus: int = 4) -> Here:
    script = folder / "program.py"
    script.write_text(PROGRAM)
    program = ("env", f"PYTHONPATH={ROOT}", sys.executable, str(script))
    return Here(parallel, gpus=gpus, cpus=cpus, program=program)


def cells(folder: Path, *do: str, **needs: int) -> list[Cell]:
    return [cell_of("train", [f"do={word}"], folder, **needs) for word in do]


def display() -> Display:
    return Display(Console(file=io.StringIO(), width=200))


def run(cells: Sequence[Cell], here: Here, watcher: Watcher | None = None) -> list[State]:
    outcomes = run_cells(cells, launcher=Launcher(), display=display(), watcher=watcher, site=here)
    return [outcome.state for outcome in outcomes]


def told(folder: Path) -> list[str]:
    """What ran, in order, and the GPUs that it saw."""
    file = folder / "cells" / "told"
    return file.read_text().splitlines() if file.exists() else []


def test_a_cell_is_named_by_a_short_digest_of_its_settings_in_any_order() -> None:
    one = cell_of("train", ["seed=1", "estimator=grpo"], Path("sweep"))
    other = cell_of("train", ["estimator=grpo", "seed=1"], Path("sweep"))
    assert one == other
    assert len(one.digest) == 10
    assert one.digest != cell_of("evaluate", ["estimator=grpo", "seed=1"], Path("sweep")).digest
    assert len(cell_of("train", [f"learner.name{n}=1" for n in range(99)], Path("sweep")).digest) == 10


def test_a_group_of_settings_comes_before_one_of_its_settings() -> None:
    words = ("+env.options={depth:3}", "env.options.depth=2", "seed=1")
    assert cell_of("train", words[::-1], Path("sweep")).words == words


def test_a_setting_that_is_set_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed is set twice in seed=1 \\+seed=2: leave one of them out"):
        cell_of("train", ["seed=1", "+seed=2"], Path("sweep"))


def test_a_cell_writes_to_its_folder_and_goes_on_there(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path / "it's", "finish")
    quoted = str(cell.folder).replace("'", "\\'")
    assert cell.call == ("train", "do=finish", f"output='{quoted}'", "resume=auto")


def test_a_refused_and_a_failed_cell_stop_no_other_and_say_why(tmp_path: Path, here: Here) -> None:
    swept = cells(tmp_path, "refuse", "fail", "finish")
    outcomes = run_cells(swept, launcher=Launcher(), display=display(), site=here)
    assert [(outcome.state, outcome.line) for outcome in outcomes] == [
        (State.REFUSED, "seed=-1: must be 0 or more"),
        (State.FAILED, "an engine died"),
        (State.FINISHED, ""),
    ]
    assert swept[1].log.read_text() == "noise\nstepcredit: an engine died\n"
    assert exit_code(outcomes) == 1
    assert [exit_code(outcomes[:1]), exit_code(outcomes[2:])] == [2, 0]


def test_a_finished_cell_is_not_repeated_and_one_that_is_not_is_tried_again(tmp_path: Path, here: Here) -> None:
    swept = cells(tmp_path, "finish", "fail")
    assert run(swept, here) == run(swept, here) == [State.FINISHED, State.FAILED]
    assert told(tmp_path) == ["finish -", "fail -", "fail -"]


def test_a_finished_cell_whose_results_are_gone_runs_again(tmp_path: Path, here: Here) -> None:
    (cell,) = cells(tmp_path, "finish")
    run([cell], here)
    (cell.folder / "begun").unlink()
    cell.folder.rmdir()
    assert run([cell], here) == [State.FINISHED]
    assert len(told(tmp_path)) == 2


def test_a_program_that_is_killed_is_told(tmp_path: Path, here: Here) -> None:
    class Kill(Watcher):
        def verdict(self, cell: Cell) -> str | None:
            if (cell.folder / "begun").exists():
                here._held[0][0]._process.kill()
            return None

    (outcome,) = run_cells(cells(tmp_path, "hang"), launcher=Launcher(), display=display(), watcher=Kill(), site=here)
    assert (outcome.state, outcome.line) == (State.FAILED, "it was killed by SIGKILL")


def test_cells_at_once_see_gpus_of_their_own_and_wait_for_free_ones(tmp_path: Path) -> None:
    class Pair(Watcher):
        """Ends a hanging cell when another one hangs beside it."""

        def verdict(self, cell: Cell) -> str | None:
            return "both hang" if "hang" in cell.title and len(told(tmp_path)) >= 2 else None

    here = site(tmp_path, parallel=3, gpus=("4", "5", "6", "7"))
    swept = cells(tmp_path, "hang", "hang2", "finish", gpus=2)
    assert run(swept, here, Pair()) == [State.PRUNED, State.PRUNED, State.FINISHED]
    assert sorted(told(tmp_path)[:2]) == ["hang 4,5", "hang2 6,7"]


def test_cells_at_once_ask_for_no_more_than_the_machine_has(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cluster.gpus=2 and this machine has 1: lower it, or launch"):
        run(cells(tmp_path, "finish", gpus=2), site(tmp_path, gpus=("0",)))
    with pytest.raises(ConfigError, match=r"2 cells at once of 3 cores each.*has 4: set cluster.cpus=2, or run fewer"):
        run(cells(tmp_path, "finish", cpus=3), site(tmp_path, parallel=2))
    with pytest.raises(ConfigError, match=r"2 cells at once of 4 cores each"):
        run([cell_of("train", ["do=finish"], tmp_path, cpus=None)], site(tmp_path, parallel=2))
    assert run(cells(tmp_path, "finish", cpus=2), site(tmp_path, parallel=2)) == [State.FINISHED]


def test_cells_that_are_proposed_one_by_one_are_checked_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cluster.gpus=2 and this machine has 1"):
        run_cells(
            iter(cells(tmp_path, "finish", gpus=2)),
            launcher=Launcher(),
            display=display(),
            site=site(tmp_path, gpus=("0",)),
        )


@pytest.mark.parametrize(
    ("cluster", "room"),
    [
        (None, (0, 0)),
        (ClusterConfig(), (None, 0)),  # all cores of a machine, and not none
        (ClusterConfig(cpus=2), (2, 0)),
        (ClusterConfig(device="cuda", gpus=2), (0, 2)),
        (ClusterConfig(address="auto"), (0, 0)),
    ],
)
def test_a_cell_takes_the_room_of_its_cluster(cluster: ClusterConfig | None, room: tuple[int | None, int]) -> None:
    assert room_of(cluster) == dict(zip(("cpus", "gpus"), room, strict=True))


def test_the_same_cell_twice_is_refused_before_any_runs(tmp_path: Path, here: Here) -> None:
    with pytest.raises(ConfigError, match="two cells are the same: do=finish and do=finish"):
        run(cells(tmp_path, "finish", "finish"), here)
    assert not (tmp_path / "cells").exists()


def test_a_record_that_is_none_names_the_file(tmp_path: Path, here: Here) -> None:
    (cell,) = cells(tmp_path, "finish")
    cell.folder.parent.mkdir(parents=True)
    cell.folder.with_name(f"{cell.digest}.json").write_text("{}")
    with pytest.raises(ConfigError, match=rf"{cell.digest}.json is no record of a cell .*: remove it"):
        run([cell], here)


def test_the_index_says_which_digest_is_which_cell_and_how_far_it_is(tmp_path: Path, here: Here) -> None:
    swept = cells(tmp_path, "refuse", "finish")
    index = Index(tmp_path, swept)
    assert [row["state"] for row in json.loads((tmp_path / "cells.json").read_text())] == ["waiting", "waiting"]
    run(swept, here, index)
    first, second = json.loads((tmp_path / "cells.json").read_text())
    assert (first["number"], first["digest"], first["state"]) == (0, swept[0].digest, "refused")
    assert (second["number"], second["words"], second["state"]) == (1, ["do=finish"], "finished")
    row = f"| 0 | `{swept[0].digest}` | `do=refuse` | refused |"
    assert row in (tmp_path / "cells.md").read_text()


def test_cells_that_lie_there_are_those_of_the_index_and_those_that_have_a_record_alone(
    tmp_path: Path, here: Here
) -> None:
    swept = cells(tmp_path, "refuse", "finish", "finish2")
    assert earlier_cells(tmp_path) == []
    Index(tmp_path, swept[1:])
    run(swept[:1], here)
    assert earlier_cells(tmp_path) == [*swept[1:], swept[0]]
    (tmp_path / "cells.json").write_text("{")
    assert earlier_cells(tmp_path) == swept[:1]


def test_a_table_of_cells_shows_brackets_as_they_are() -> None:
    cell = cell_of("train", ["scorers=[plan,judge]", "seed=1"], Path("sweep"))
    console = Console(file=io.StringIO(), width=200, record=True)
    console.print(terminal([Outcome(cell=cell, state=State.FAILED, line="no folder [/tmp/x]")]))
    assert "scorers=[plan,judge] seed=1" in (shown := console.export_text())
    assert "no folder [/tmp/x]" in shown


SWEEP = """
import sys
from pathlib import Path
from tests.trainer.cells.test_launch import cells, display, site
from trainer.cells.launch import run_cells
from trainer.cells.launcher import Launcher
from trainer.commands.interrupt import Interruption
folder = Path(sys.argv[1])
with Interruption():
    run_cells(cells(folder, "hang", "finish"), launcher=Launcher(), display=display(), site=site(folder))
"""


def hanging_sweep(folder: Path) -> subprocess.Popen[bytes]:
    """A sweep of two cells, the first of which hangs."""
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP, str(folder)], cwd=ROOT, preexec_fn=take_signals)
    while not list(folder.glob("cells/*/begun")):
        assert sweep.poll() is None
        time.sleep(0.05)
    return sweep


def test_a_cell_ends_when_the_process_that_launched_it_is_killed(tmp_path: Path) -> None:
    sweep = hanging_sweep(tmp_path)
    (cell,) = psutil.Process(sweep.pid).children()
    sweep.kill()
    cell.wait(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_running_cell_and_leaves_it_and_the_rest_waiting(tmp_path: Path, number: int) -> None:
    hangs, rest = cells(tmp_path, "hang", "finish")
    sweep = hanging_sweep(tmp_path)
    sweep.send_signal(number)
    assert sweep.wait(timeout=60) == 128 + number
    assert json.loads(hangs.folder.with_name(f"{hangs.digest}.json").read_text())["state"] == "waiting"
    assert not rest.folder.exists()
