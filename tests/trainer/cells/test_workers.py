"""Cells of one machine go to a process that stays; where it dies, its cell has failed and the others go on."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from trainer.cells.cell import Cell, Outcome, State, cell_of
from trainer.cells.launch import Here, Watcher, run_cells
from trainer.cells.launcher import Launcher
from trainer.cells.workers import Workers
from trainer.report.progress import Display

ROOT = Path(__file__).parents[3]
# Speaks as `trainer.commands.cell_worker`: does what the word do=... says, and writes its process id into the log.
PROGRAM = """
import json, os, pathlib, signal, sys, time
for line in iter(sys.stdin.readline, ""):
    order = json.loads(line)
    words = dict(word.split("=", 1) for word in order["words"] if "=" in word)
    if words["do"] == "linger":
        signal.signal(signal.SIGTERM, lambda *_: None)
    with open(order["log"], "a") as log:
        log.write(str(os.getpid()) + " " + os.environ.get("CUDA_VISIBLE_DEVICES", "-") + "\\n")
        if words["do"] == "refuse":
            log.write("stepcredit: seed=-1: must be 0 or more\\n")
    if words["do"] == "die":
        os._exit(0)
    if words["do"] == "hang":
        time.sleep(600)
    here = pathlib.Path(order["log"]).with_name(f"{os.getpid()}.here")
    here.touch()
    while words["do"] == "meet" and len(list(here.parent.glob("*.here"))) < 2:
        time.sleep(0.01)
    pathlib.Path(words["output"].strip("'")).mkdir(exist_ok=True)
    print(json.dumps({"code": 2 if words["do"] == "refuse" else 0}), flush=True)
"""


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    script = tmp_path / "worker.py"
    script.write_text(PROGRAM)
    with closing(Workers((sys.executable, str(script)))) as workers:
        yield workers


def cells(folder: Path, *do: str, gpus: int = 0) -> list[Cell]:
    return [cell_of("train", [f"do={word}", f"seed={seed}"], folder, gpus=gpus) for seed, word in enumerate(do)]


def run(cells: list[Cell], here: Here, watcher: Watcher | None = None) -> list[Outcome]:
    display = Display(Console(file=io.StringIO(), width=200))
    return list(run_cells(cells, launcher=Launcher(), display=display, watcher=watcher, site=here))


def logged(cell: Cell) -> list[str]:
    """The process that ran a cell, and the GPUs that it saw."""
    return cell.log.read_text().splitlines()[0].split()


def test_cells_one_after_another_run_in_one_process(tmp_path: Path, workers: Workers) -> None:
    three = cells(tmp_path, "finish", "refuse", "finish")
    outcomes = run(three, Here(1, gpus=(), cpus=4, workers=workers))
    assert [outcome.state for outcome in outcomes] == [State.FINISHED, State.REFUSED, State.FINISHED]
    assert outcomes[1].line == "seed=-1: must be 0 or more"
    assert len({logged(cell)[0] for cell in three}) == 1


def test_a_process_that_dies_fails_its_cell_and_another_runs_the_rest(tmp_path: Path, workers: Workers) -> None:
    three = cells(tmp_path, "finish", "die", "finish")
    outcomes = run(three, Here(1, gpus=(), cpus=4, workers=workers))
    assert [outcome.state for outcome in outcomes] == [State.FINISHED, State.FAILED, State.FINISHED]
    first, second, third = (logged(cell)[0] for cell in three)
    assert first == second != third


def test_a_cell_that_is_pruned_ends_its_process_and_another_runs_the_rest(tmp_path: Path, workers: Workers) -> None:
    class Pruning(Watcher):
        def verdict(self, cell: Cell) -> str | None:
            return "worse than the median" if "do=hang" in cell.words and cell.log.stat().st_size else None

    outcomes = run(cells(tmp_path, "hang", "finish"), Here(1, gpus=(), cpus=4, workers=workers), Pruning())
    assert [outcome.state for outcome in outcomes] == [State.PRUNED, State.FINISHED]
    assert outcomes[0].line == "worse than the median"


def test_cells_at_once_have_a_process_each_and_gpus_of_their_own(tmp_path: Path, workers: Workers) -> None:
    four = cells(tmp_path, "finish", "finish", "finish", "finish", gpus=1)
    run(four, Here(2, gpus=("0", "1"), cpus=4, workers=workers))
    seen = {tuple(logged(cell)) for cell in four}
    assert {gpus for _, gpus in seen} == {"0", "1"}


def test_processes_that_are_idle_together_are_all_used_again(tmp_path: Path, workers: Workers) -> None:
    four = cells(tmp_path, "meet", "meet", "finish", "finish")
    for two in (four[:2], four[2:]):  # the second two begin when both processes are idle
        run(two, Here(2, gpus=(), cpus=4, workers=workers))
    first, later = ({logged(cell)[0] for cell in two} for two in (four[:2], four[2:]))
    assert (len(first), later - first) == (2, set())


def test_no_process_is_left_when_the_cells_have_ended(tmp_path: Path, workers: Workers) -> None:
    (cell,) = cells(tmp_path, "finish")
    run([cell], Here(1, gpus=(), cpus=4, workers=workers))
    workers.close()
    assert not Path(f"/proc/{logged(cell)[0]}").exists()


@pytest.mark.slow
def test_the_worker_runs_commands_as_the_command_line_does(tmp_path: Path) -> None:
    """The lines and codes of refusals, and the output of a command that finishes, each in the log of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = tmp_path / "cell.log"
    calls = [
        (["train", "env=textcraft", "seed=-1"], 2, "stepcredit: seed=-1"),
        (["tarin"], 2, "stepcredit: no command 'tarin'"),
        (["panel", "textcraft", "--json"], 0, '"textcraft"'),
        (["panel", "nowhere"], 2, "stepcredit: "),
    ]
    with closing(Workers()) as workers:
        for words, code, text in calls:
            log.unlink(missing_ok=True)
            assert workers.run(words, log, env).wait() == code
            assert text in log.read_text()


def test_a_process_that_was_told_to_end_runs_no_further_cell(tmp_path: Path, workers: Workers) -> None:
    """It may finish its command just before the signal ends it."""
    env, codes = dict(os.environ), list[int]()
    first, second = cells(tmp_path, "linger", "finish")
    for cell in (first, second):
        cell.folder.parent.mkdir(parents=True, exist_ok=True)
        errand = workers.run(cell.call, cell.log, env)
        while not cell.log.is_file() or not cell.log.stat().st_size:
            pass
        errand.send_signal(signal.SIGTERM if cell is first else 0)
        codes.append(errand.wait())
    assert codes == [0, 0]
    assert logged(first)[0] != logged(second)[0]
