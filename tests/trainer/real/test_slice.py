"""One seed and two rows of the laptop table for real: cells that share a process, and a report of the table's form."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from shutil import copytree

import psutil
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.trainer.real.conftest import RUN, WARM_START, Stack, quiet, unclocked
from trainer.cells.cell import Outcome, State, write_outcome
from trainer.cells.launch import Here
from trainer.cells.workers import Errand, Workers
from trainer.commands.compose import CONFIGS
from trainer.commands.defaults import register
from trainer.commands.paper_table import TablePlan, plan_table, run_table
from trainer.config.build import build
from trainer.report.metric_rows import read_metrics
from trainer.tables.config import TableConfig

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
GIVEN = ("seed", "experiment", "env", "model", "cluster")  # of RUN, what the table itself says
SMALL = [f"++set.{word}" for word in RUN if word.partition("=")[0] not in GIVEN]
LIKE_THE_RUN = ["++set.learner.decay_steps=400"]  # what RUN leaves at the experiment's


class Watched(Workers):
    """Notes the actors of its worker before each cell."""

    def __init__(self) -> None:
        super().__init__()
        self.actors: list[set[int]] = []

    def run(self, words: Sequence[str], log: Path, env: Mapping[str, str]) -> Errand:
        self.look()
        return super().run(words, log, env)

    def look(self) -> None:
        family = psutil.Process().children(recursive=True)
        ray = {process.pid for process in family if any("ray::_" in word for word in process.cmdline())}
        workers = [one for one in psutil.Process().children() if "trainer.commands.cell_worker" in one.cmdline()]
        self.actors.append({one.pid for worker in workers for one in worker.children(recursive=True)} & ray)


def planned_table(output: Path) -> TablePlan:
    """Two rows of the laptop table from the warm start of the other real runs, with the settings of these."""
    start = ",".join(f"'{word}'" for word in WARM_START if not word.startswith("seed="))
    words = [
        "table=laptop",
        "name=laptop",
        "rows=[bipace,gigpo]",
        "seeds=[0]",
        *SMALL,
        *LIKE_THE_RUN,
        f"output={output}",
    ]
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        values = compose("table", overrides=[*words, f"table.starts=[{{name:warm,overrides:[{start}]}}]"])
        return plan_table(build(TableConfig, OmegaConf.to_container(values, resolve=True)))  # pyright: ignore


def test_a_slice_of_the_laptop_table_has_its_form_and_its_cells_the_numbers_of_runs_of_their_own(
    stack: Stack, run_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both cells run in one process, on the same engine and ranks.

    The first one leaves other weights, another optimizer, other worlds, and takes no hidden states, as the second one
    does. Their warm start is there before, as in a table that goes on.
    """
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    plan = planned_table(tmp_path / "table")
    (start,) = plan.starts
    copytree(stack.policy, start.folder / "model")
    write_outcome(Outcome(cell=start, state=State.FINISHED))
    with closing(Watched()) as workers:
        run_table(plan, quiet(), Here(1, gpus=(), cpus=os.cpu_count() or 1, workers=workers))
        workers.look()
    first, held, still = workers.actors
    assert (first, held) == (set(), still)
    assert len(held) >= 3  # an engine, a rank, a worker
    for row in plan.rows:
        assert unclocked(read_metrics(row.cells[0].folder)) == unclocked(read_metrics(run_of(row.row.name)))
    check_form(plan)


def check_form(plan: TablePlan) -> None:
    output = Path(plan.config.output)
    assert {path.name for path in output.iterdir()} >= {"table.md", "table.csv", "table.tex", "table.html"}
    report = json.loads((output / "report.json").read_text())
    assert list(report["table"]["columns"]) == ["all", "depth 1", "depth 2", "depth 3"]
    assert [row["title"] for row in report["table"]["rows"]] == ["GiGPO", "BiPACE"]
    for row in report["table"]["rows"]:
        assert list(row["columns"]) == list(report["table"]["columns"])
        last = row["columns"]["all"]["last"]
        assert 0 <= last["low"] <= last["mean"] <= last["high"] <= 1
        assert len(last["values"]) == 1
    assert {one["state"] for one in report["cells"].values()} == {"finished"}
