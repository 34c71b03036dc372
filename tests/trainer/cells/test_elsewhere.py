"""Cells as jobs of submitit and in actors of a Ray cluster end as they do on this machine."""

import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from submitit.core.utils import FailedJobError

from rollout.ray_actors import ActorDied
from tests.other_cluster import other_cluster
from tests.trainer.cells.test_launch import PROGRAM, ROOT, cells, display, told
from trainer.cells import ray_site, slurm_site
from trainer.cells.cell import Cell, Outcome, State, cell_of, outcome_of, write_outcome
from trainer.cells.launch import Watcher, run_cells
from trainer.cells.launcher import Launcher
from trainer.cells.ray_site import RayRunning, RaySite
from trainer.cells.site import Site
from trainer.cells.slurm_site import SlurmRunning, SlurmSite
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
    with closing(site):
        outcomes = run_cells(swept, launcher=Launcher(), display=display(), watcher=Prune(), site=site)
    assert [(outcome.state, outcome.line) for outcome in outcomes] == [
        (State.FINISHED, ""),
        (State.REFUSED, "seed=-1: must be 0 or more"),
        (State.PRUNED, "it hangs"),
    ]
    assert len(told(folder)) == 3


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a cluster of one node with 2 cores."""
    with other_cluster(auth="disabled") as address:
        yield address


WORKING = [("work", 1), ("work", 2), ("fail", 1), ("work", 1), ("work", 1)]  # what each cell does, and its cores
# A command that takes a while and says when it runs.
WORK = """
import os, pathlib, sys, time
words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
folder = pathlib.Path(words["output"].strip("'"))
tell = lambda what: (folder.parent / "told").open("a").write(f"{what} {words['cores']} {words['do']}\\n")
tell("begin")
time.sleep(1.0)
tell("end")
if words["do"] == "fail":
    sys.exit("stepcredit: an engine died")
folder.mkdir()
(folder / "shop").write_text(os.environ.get("WEBSHOP_DATA", "") + os.environ.get("JUDGE", ""))
"""


def most_at_once(told: list[str]) -> int:
    """The most cores that the cells took together."""
    taken = accumulate(int(cores) if what == "begin" else -int(cores) for what, cores, _ in map(str.split, told))
    return max(taken)


@pytest.mark.slow
def test_cells_are_jobs_of_submitit(tmp_path: Path) -> None:
    check_ends(tmp_path, SlurmSite("local", {"timeout_min": 5}, None, program=program(tmp_path)))


@pytest.mark.slow
def test_cells_are_actors_of_a_ray_cluster_and_never_take_more_cores_than_it_has(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBSHOP_DATA", "the shop")  # of this command, and not of the cluster
    monkeypatch.setenv("JUDGE", ", a key")
    check_ends(tmp_path / "ends", RaySite(cluster, None, program=program(tmp_path)))
    script = tmp_path / "work.py"
    script.write_text(WORK)
    words = [
        (f"do={do}", f"cores={cores}", f"seed={seed}", "scorer.key_variable=JUDGE")
        for seed, (do, cores) in enumerate(WORKING)
    ]
    swept = [
        cell_of("train", one, tmp_path / "work", cpus=cores) for one, (_, cores) in zip(words, WORKING, strict=True)
    ]
    # The process has left the cluster before.
    with closing(RaySite(cluster, None, program=(sys.executable, str(script)))) as site:
        outcomes = run_cells(swept, launcher=Launcher(), display=display(), site=site)
    assert [(outcome.state, outcome.line) for outcome in outcomes] == [
        (State.FAILED, "an engine died") if do == "fail" else (State.FINISHED, "") for do, _ in WORKING
    ]
    assert len(told(tmp_path / "work")) == 2 * len(WORKING)
    assert most_at_once(told(tmp_path / "work")) == 2
    assert {path.read_text() for path in (tmp_path / "work").rglob("shop")} == {"the shop, a key"}


@pytest.mark.slow
def test_a_cell_that_no_node_of_a_ray_cluster_can_hold_is_refused(tmp_path: Path, cluster: str) -> None:
    with closing(RaySite(cluster, None)) as site:
        for needs, part in (
            ({"gpus": 1}, r"cluster.gpus=1 and no node of the Ray cluster has more than 0"),
            ({"cpus": None}, r"Ray must know how many: set cluster.cpus=N"),
            ({"cpus": 3}, r"cluster.cpus=3, and no node .* has more than 2: Ray would wait for ever, so lower it"),
        ):
            with pytest.raises(ConfigError, match=part):
                site.check(cell_of("train", ["seed=1"], tmp_path, **needs))


def test_what_submitit_does_not_know_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cell,) = cells(tmp_path, "finish")
    with pytest.raises(ConfigError, match=r"launcher.job={'partitoin': 'gpu'}: .*partitoin"):
        SlurmSite("local", {"partitoin": "gpu"}, None).check(cell)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"launcher.executor=slurm but there is no sbatch on this machine"):
        SlurmSite("slurm", {}, None)


class Answer:
    """A cell that ended by itself, as Ray and submitit hand it out, before it was asked to end."""

    def __init__(self, cell: Cell) -> None:
        self.ended, self.actor = Outcome(cell=cell, state=State.FINISHED, seconds=3.0), self
        write_outcome(self.ended)
        cell.log.touch()

    def kill(self) -> None:
        """Its actor."""

    def cancel(self, *, check: bool) -> None:
        del check

    def done(self) -> bool:
        return True

    def result(self) -> Outcome:
        return self.ended


@pytest.mark.parametrize("kind", [RayRunning, SlurmRunning])
def test_a_cell_that_has_finished_before_it_is_asked_to_end_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(ray_site, "answered", lambda _: True)
    monkeypatch.setattr(ray_site, "gather", lambda calls: [call.ended for call in calls])
    (cell,) = cells(tmp_path, "finish")
    cell.folder.mkdir(parents=True)
    running = kind(cell, Answer(cell))
    running.end(State.WAITING)
    assert running.outcome() == outcome_of(cell) == Outcome(cell=cell, state=State.FINISHED, seconds=3.0)


@pytest.mark.parametrize("error", [ActorDied("cell died"), PermissionError("cell died")])
def test_a_cell_whose_actor_died_before_it_wrote_a_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def died(_: Any) -> None:
        raise error

    monkeypatch.setattr(ray_site, "answered", lambda _: True)
    monkeypatch.setattr(ray_site, "gather", died)
    (cell,) = cells(tmp_path, "finish")
    cell.folder.mkdir(parents=True)
    answer: Any = Answer(cell)
    cell.log.unlink()
    outcome = RayRunning(cell, answer).outcome()
    assert outcome == outcome_of(cell) == Outcome(cell=cell, state=State.FAILED, line="cell died", seconds=3.0)


class Busy:
    """An executor whose submissions fail as `fails` says, one after another; its jobs end after so many of them."""

    def __init__(self, fails: Iterator[bool], holds: int) -> None:
        self.fails, self.holds, self.tried = fails, holds, 0

    def submit(self, run: Any, cell: Cell, program: Any) -> "Busy.Job":
        self.tried += 1
        if next(self.fails):
            raise FailedJobError("sbatch: error: Socket timed out on send/recv operation")
        return self.Job(cell, self)

    class Job:
        def __init__(self, cell: Cell, busy: "Busy") -> None:
            self.cell, self.busy = cell, busy

        def done(self) -> bool:
            return self.busy.tried >= self.busy.holds

        def result(self) -> Outcome:
            outcome = Outcome(cell=self.cell, state=State.FINISHED)
            write_outcome(outcome)
            return outcome

        def cancel(self, *, check: bool) -> None:
            raise AssertionError("a job was cancelled")


def busy_site(monkeypatch: pytest.MonkeyPatch, *fails: bool, parallel: int | None, holds: int = 0) -> SlurmSite:
    executor, site = Busy(iter(fails), holds), SlurmSite("local", {}, parallel)
    monkeypatch.setattr(SlurmSite, "_of", lambda *_: executor)
    monkeypatch.setattr(slurm_site, "AGAIN_S", 0.25)
    return site


def test_a_cell_that_slurm_does_not_take_now_is_submitted_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = busy_site(monkeypatch, False, True, True, False, parallel=None, holds=4)
    outcomes = run_cells(cells(tmp_path, "one", "two"), launcher=Launcher(), display=display(), site=site)
    assert [outcome.state for outcome in outcomes] == [State.FINISHED, State.FINISHED]


def test_a_cell_that_slurm_does_not_take_when_none_runs_has_failed_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = busy_site(monkeypatch, False, True, False, parallel=1)
    outcomes = run_cells(cells(tmp_path, "one", "two", "three"), launcher=Launcher(), display=display(), site=site)
    assert [outcome.state for outcome in outcomes] == [State.FINISHED, State.FAILED, State.FINISHED]
    assert outcomes[1].line == "SLURM takes no job: sbatch: error: Socket timed out on send/recv operation"


def test_the_first_job_that_slurm_does_not_take_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = busy_site(monkeypatch, True, parallel=None)
    with pytest.raises(ConfigError, match=r"SLURM takes no job: sbatch: error: Socket timed out"):
        run_cells(cells(tmp_path, "one"), launcher=Launcher(), display=display(), site=site)


@pytest.mark.parametrize("kind", [RayRunning, SlurmRunning])
def test_the_time_of_earlier_starts_is_kept_where_a_cell_is_asked_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(ray_site, "answered", lambda _: False)
    (cell,) = cells(tmp_path, "finish")
    answer: Any = Answer(cell)
    write_outcome(Outcome(cell=cell, state=State.WAITING, seconds=60.0))
    answer.ended = Outcome(cell=cell, state=State.FAILED)
    running = kind(cell, answer)
    running.end(State.WAITING)
    assert running.outcome() == outcome_of(cell) == Outcome(cell=cell, state=State.WAITING, seconds=60.0)
