"""Cells as jobs of SLURM, by submitit. All nodes must share the cells' folder, and the one this was started in."""

import getpass
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError
from submitit.helpers import DelayedSubmission

from trainer.cells.cell import Cell, Outcome, State, outcome_of, write_outcome
from trainer.cells.child import PROGRAM, Child
from trainer.cells.site import LOOK_S, Running, end_each
from trainer.config.build import ConfigError
from trainer.durable import write_whole
from trainer.setup.gpu_memory import GIB

JOBS = "jobs"  # submitit's own files, beside the cells
SHARED_LOOK_S = 5.0  # between two looks at jobs of SLURM: each asks the file system that all nodes share
ENDING = "COMPLETING"  # the state of a job that was cancelled and whose processes may still write
CANCEL_S = 4.0  # for SLURM to take the order to end all jobs; a command that is interrupted has seven
AGAIN_S = 30.0  # between two submissions, where SLURM took no job
TIMEOUT_MIN = 1440  # of a job that does not say; submitit's own is 5
# Words of `job` that say how many cores and how much memory. SLURM takes one of each kind.
SAY_CORES = ("cpus_per_task", "slurm_cpus_per_task", "slurm_cpus_per_gpu")
SAY_MEMORY = ("mem_gb", "slurm_mem", "slurm_mem_per_cpu", "slurm_mem_per_gpu")
NOT_TAKEN = (FailedSubmissionError, FailedJobError)  # of an answer without a number, and of an sbatch that failed


class Run:
    """What a job does. A job that SLURM preempts or that reaches its time limit is queued again, and goes on."""

    def __call__(self, cell: Cell, program: tuple[str, ...]) -> Outcome:
        return Child(cell, program=program).wait()

    def checkpoint(self, cell: Cell, program: tuple[str, ...]) -> DelayedSubmission:
        return DelayedSubmission(self, cell, program)


class SlurmRunning:
    """A cell in a job."""

    def __init__(self, cell: Cell, job: "submitit.Job[Outcome]") -> None:
        self.cell = cell
        self._job = job
        self._spent = outcome_of(cell).seconds  # of its earlier starts; how long this one ran, only its job knows
        self._ordered: Outcome | None = None
        self._is_cut = False

    def outcome(self) -> Outcome | None:
        if self._is_cut and not self._job.paths.result_pickle.exists():
            return self._as_ordered()
        if not self._is_cut and not self._job.done():
            return None
        outcome = self._ended()
        if self._ordered is None or outcome.state is State.FINISHED:
            return outcome
        return self._as_ordered()

    def _as_ordered(self) -> Outcome:
        assert self._ordered is not None
        write_outcome(self._ordered)
        return self._ordered

    def _ended(self) -> Outcome:
        """How the job ended, whatever it was asked to do."""
        try:
            return self._job.result()
        except UncompletedJobError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            why = f"job {self._job.job_id} ended without an answer: {lines[-1] if lines else self._job.state}"
            line = f"{why}; its log is {self._job.paths.stderr}"
            failed = Outcome(cell=self.cell, state=State.FAILED, line=line, seconds=self._spent)
            write_outcome(failed)
            return failed

    @property
    def job_id(self) -> str:
        """The number of its job."""
        return self._job.job_id

    @property
    def is_done(self) -> bool:
        """Whether its job has left the queue."""
        return self._job.done()

    def end(self, state: State, line: str = "") -> None:
        self._ordered = Outcome(cell=self.cell, state=state, line=line, seconds=self._spent)
        self._job.cancel(check=False)

    def cut(self) -> None:
        """Count as waiting at once, unless its job has an answer already. Whoever calls has ended the job."""
        self._ordered = Outcome(cell=self.cell, state=State.WAITING, seconds=self._spent)
        self._is_cut = True


class Unsubmitted:
    """A cell that SLURM did not take. It has failed, and is tried again when the sweep goes on."""

    def __init__(self, cell: Cell, line: str) -> None:
        self.cell = cell
        self._failed = Outcome(cell=cell, state=State.FAILED, line=line, seconds=outcome_of(cell).seconds)

    def outcome(self) -> Outcome:
        write_outcome(self._failed)
        return self._failed

    def end(self, state: State, line: str = "") -> None:
        """Nothing: it never ran."""


class SlurmSite:
    """SLURM, or submitit's own jobs on this machine, whose queue decides which cell waits."""

    def __init__(
        self, executor: str, job: Mapping[str, Any], parallel: int | None, *, program: tuple[str, ...] = PROGRAM
    ) -> None:
        """job: submitit's parameters. Raises ConfigError where there is no SLURM."""
        if executor == "slurm" and shutil.which("sbatch") is None:
            raise ConfigError(
                "launcher.executor=slurm but there is no sbatch on this machine: start the sweep on a login node, or "
                "take hydra/launcher=local"
            )
        self.parallel = parallel
        self.look_s = SHARED_LOOK_S if executor == "slurm" else LOOK_S
        self._executor, self._job, self._program = executor, dict(job), program
        self._submitted: list[SlurmRunning] | None = None  # those that are not done yet; None before the first
        self._queue: dict[str, str] | None = None  # the states of the user's jobs as SLURM told them, once it was asked
        self._next_s = 0.0  # the earliest time of the next submission

    def check(self, cell: Cell) -> None:
        """Raises ConfigError for a parameter that submitit does not know."""
        try:
            self._of(cell)
        except (NameError, TypeError, ValueError, AssertionError) as error:
            raise ConfigError(f"launcher.job={self._job}: {' '.join(str(error).split())}") from error

    def start(self, cell: Cell) -> SlurmRunning | Unsubmitted | None:
        """Submit it, or wait for the job that an earlier sweep has left in the queue.

        Where SLURM takes no job while others run, the cell waits; where none runs, this one cell has failed. Raises
        ConfigError where SLURM takes not even the first job: then it is the parameters that are wrong.
        """
        left, state = self._left(cell)
        if left is not None and state not in (None, ENDING):
            return self._held(SlurmRunning(cell, submitit.SlurmJob(folder=_folder(cell), job_id=left)))
        if time.monotonic() < self._next_s and self._any_runs():
            return None
        try:
            executor = self._of(cell, left if state == ENDING else None)
            running = SlurmRunning(cell, executor.submit(Run(), cell, self._program))
        except NOT_TAKEN as error:
            line = f"SLURM takes no job: {' '.join(str(error).split())}"
            if self._submitted is None:
                raise ConfigError(line) from error
            self._next_s = time.monotonic() + AGAIN_S
            return None if self._any_runs() else Unsubmitted(cell, line)
        if self._executor == "slurm":
            cell.folder.parent.mkdir(parents=True, exist_ok=True)
            write_whole(_number_file(cell), f"{running.job_id}\n")
        return self._held(running)

    def _held(self, running: SlurmRunning) -> SlurmRunning:
        self._submitted = [*(self._submitted or ()), running]
        return running

    def _left(self, cell: Cell) -> tuple[str | None, str | None]:
        """The last job of the cell and its state; no state where SLURM does not know it any more."""
        if self._executor != "slurm" or not _number_file(cell).is_file():
            return None, None
        if self._queue is None:
            self._queue = _queue()
        number = _number_file(cell).read_text().strip()
        return number, self._queue.get(number)

    def _any_runs(self) -> bool:
        """Whether a job of this site is in the queue or runs."""
        self._submitted = [running for running in self._submitted or () if not running.is_done]
        return bool(self._submitted)

    def end_all(self, running: Sequence[Running]) -> str | None:
        """End all jobs by one call: of one call for each, an interruption would see only the first few done."""
        if self._executor != "slurm":
            end_each(running)
            return None
        jobs = [one for one in running if isinstance(one, SlurmRunning)]
        line = _cancel([job.job_id for job in jobs])
        for job in jobs:
            job.cut()
        return line

    def close(self) -> None:
        """Nothing: jobs that run have been ended."""

    def _of(self, cell: Cell, after: str | None = None) -> submitit.AutoExecutor:
        """An executor of the cell's cores, memory and GPUs. What `job` says goes before.

        after: a job that must have ended before this one starts, since both write to the cell's folder.
        """
        executor = submitit.AutoExecutor(folder=_folder(cell), cluster=self._executor)
        parameters: dict[str, Any] = {
            "name": f"stepcredit-{cell.digest}",
            "gpus_per_node": cell.gpus,
            "timeout_min": TIMEOUT_MIN,
        }
        if (cpus := cell.cpus or cell.job_cpus) and self._job.keys().isdisjoint(SAY_CORES):
            parameters["cpus_per_task"] = cpus
        if cell.job_bytes and self._job.keys().isdisjoint(SAY_MEMORY):
            parameters["mem_gb"] = -(-cell.job_bytes // GIB)
        parameters |= self._job
        if after is not None:
            others = (f"afterany:{after}", parameters.get("slurm_dependency"))
            parameters["slurm_dependency"] = ",".join(filter(None, others))
        executor.update_parameters(**parameters)
        return executor


def _folder(cell: Cell) -> Path:
    """Submitit's files of a cell."""
    return cell.folder.parent.with_name(JOBS) / cell.digest


def _number_file(cell: Cell) -> Path:
    """Holds the number of the cell's last job. It lies beside the cell, for a sweep that goes on."""
    return cell.folder.with_name(f"{cell.digest}.job")


def _queue() -> dict[str, str]:
    """The state of each job of this user that SLURM knows, by its number. Raises ConfigError where it does not say."""
    words = ["squeue", "--noheader", "--format=%i %T", "--user", getpass.getuser()]
    try:
        told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            f"squeue does not answer ({error}), and cells of this sweep may still run as jobs: go on when it does"
        ) from error
    return {number: state for number, _, state in (line.strip().partition(" ") for line in told.splitlines())}


def _cancel(jobs: Sequence[str]) -> str | None:
    """Have SLURM end jobs. Returns what to say where it does not answer, or not well."""
    if not jobs:
        return None
    try:
        # In a session of its own: one that takes longer goes on when this command has ended.
        code = subprocess.Popen(["scancel", "--quiet", *jobs], start_new_session=True).wait(CANCEL_S)
    except subprocess.TimeoutExpired:
        why = f"it has not answered for {CANCEL_S:g} s"
    except OSError as error:
        why = str(error)
    else:
        why = f"scancel ended with exit code {code}" if code else ""
    return (
        f"SLURM may not have ended all jobs ({why}): look at squeue, or call scancel {' '.join(jobs)}" if why else None
    )
