"""Cells as jobs of submitit and in actors of a Ray cluster end as they do on this machine."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout import ray_actors
from tests.trainer.cells.test_launch import PROGRAM, ROOT, cells, display, told
from trainer.cells.cell import Cell, State, cell_of
from trainer.cells.launch import Site, Watcher, run_cells
from trainer.cells.launcher import Launcher
from trainer.cells.ray_site import RaySite
from trainer.cells.slurm_site import SlurmSite
from trainer.config.build import ConfigError


def program(folder: Path) -> tuple[str, ...]:
    script = folder / "program.py"
    script.write_text(PROGRAM)
    return ("env", f"PYTHONPATH={ROOT}", sys.executable, str(script))


class Prune(Watcher):
    """Ends each cell that hangs."""

    def verdict(self, cell: Cell) -> str | None:
        return "it hangs" if "hang" in cell.title and (cell.folder / "begun").exists() else None


def check_ends(folder: Path, site: Site) -> None:
    swept = cells(folder, "finish", "refuse", "hang", cpus=1)
    outcomes = run_cells(swept, launcher=Launcher(), display=display(), watcher=Prune(), site=site)
    assert [(outcome.state, outcome.line) for outcome in outcomes] == [
        (State.FINISHED, ""),
        (State.REFUSED, "seed=-1: must be 0 or more"),
        (State.PRUNED, "it hangs"),
    ]
    assert len(told(folder)) == 3


@pytest.fixture
def cluster() -> Iterator[None]:
    """Ray on this machine in the place of a cluster."""
    ray_actors.start(num_cpus=2, num_gpus=0, object_store_bytes=100 * 2**20)
    yield
    ray_actors.stop()


class Joined(RaySite):
    """The Ray that the fixture started."""

    def __init__(self, *, program: tuple[str, ...]) -> None:
        self.parallel, self._program, self._gpus = None, program, 0

    def close(self) -> None:
        """The fixture does."""


@pytest.mark.slow
def test_cells_are_jobs_of_submitit(tmp_path: Path) -> None:
    check_ends(tmp_path, SlurmSite("local", {"timeout_min": 5}, None, program=program(tmp_path)))


@pytest.mark.slow
def test_cells_are_actors_of_a_ray_cluster(tmp_path: Path, cluster: None) -> None:
    site = Joined(program=program(tmp_path))
    check_ends(tmp_path, site)
    with pytest.raises(ConfigError, match=r"cluster.gpus=1 and no node of the Ray cluster has more than 0"):
        site.check(cell_of("train", ["seed=1"], tmp_path, gpus=1))
    with pytest.raises(ConfigError, match=r"Ray must know how many: set cluster.cpus=N"):
        site.check(cell_of("train", ["seed=1"], tmp_path, cpus=None))


def test_what_submitit_does_not_know_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cell,) = cells(tmp_path, "finish")
    with pytest.raises(ConfigError, match=r"launcher.job={'partitoin': 'gpu'}: .*partitoin"):
        SlurmSite("local", {"partitoin": "gpu"}, None).check(cell)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"launcher.executor=slurm but there is no sbatch on this machine"):
        SlurmSite("slurm", {}, None)
