"""Cells one after another in one process give the numbers of runs of their own, on the same engine and ranks."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.trainer.real.conftest import RUN, Stack, unclocked
from trainer.cells.workers import Workers
from trainer.report.metric_log import read_metrics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def actors() -> set[int]:
    """The processes of the actors that the worker has, whatever they hold."""
    here = psutil.Process().children()
    (worker,) = (process for process in here if "trainer.commands.cell_worker" in process.cmdline())
    family = worker.children(recursive=True)
    return {process.pid for process in family if any("ray::_" in word for word in process.cmdline())}


def test_a_cell_after_another_one_gives_the_numbers_of_a_run_of_its_own(
    stack: Stack, run_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """The first one leaves other weights, another optimizer, other worlds; it takes hidden states, the second none."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    held: list[set[int]] = []
    with closing(Workers()) as workers:
        for name, words in (("first", ("estimator=bipace", "seed=5", "updates=2")), ("second", ("estimator=gigpo",))):
            log, place = tmp_path / f"{name}.log", (f"model.source={stack.policy}", f"output={tmp_path / name}")
            assert workers.run(["train", *RUN, *place, *words], log, env).wait() == 0, log.read_text()
            held.append(actors())
    assert held[0] == held[1]
    assert len(held[0]) >= 3  # an engine, a rank, a worker
    assert unclocked(read_metrics(tmp_path / "second")) == unclocked(read_metrics(run_of("gigpo")))
