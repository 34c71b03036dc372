"""Cells as jobs of SLURM, by submitit. All nodes must share the cells' folder, and the one this was started in."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedSubmissionError, UncompletedJobError
from submitit.helpers import DelayedSubmission

from trainer.cells.cell import Cell, Outcome, State, write_outcome
from trainer.cells.child import PROGRAM, Child
from trainer.config.build import ConfigError

JOBS = "jobs"  # submitit's own files, beside the cells


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
        self._ordered: Outcome | None = None

    def outcome(self) -> Outcome | None:
        if not self._job.done():
            return None
        outcome = self._ended()
        if self._ordered is None or outcome.state is State.FINISHED:
            return outcome
        write_outcome(self._ordered)
        return self._ordered

    def _ended(self) -> Outcome:
        """How the job ended, whatever it was asked to do."""
        try:
            return self._job.result()
        except UncompletedJobError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            why = f"job {self._job.job_id} ended without an answer: {lines[-1] if lines else self._job.state}"
            failed = Outcome(cell=self.cell, state=State.FAILED, line=f"{why}; its log is {self._job.paths.stderr}")
            write_outcome(failed)
            return failed

    def end(self, state: State, line: str = "") -> None:
        self._ordered = Outcome(cell=self.cell, state=state, line=line)
        self._job.cancel(check=False)


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
        self._executor, self._job, self._program = executor, dict(job), program

    def check(self, cell: Cell) -> None:
        """Raises ConfigError for a parameter that submitit does not know."""
        try:
            self._of(cell)
        except (NameError, TypeError, ValueError, AssertionError) as error:
            raise ConfigError(f"launcher.job={self._job}: {' '.join(str(error).split())}") from error

    def start(self, cell: Cell) -> SlurmRunning:
        try:
            return SlurmRunning(cell, self._of(cell).submit(Run(), cell, self._program))
        except FailedSubmissionError as error:
            raise ConfigError(f"SLURM takes no job: {' '.join(str(error).split())}") from error

    def close(self) -> None:
        """Nothing: jobs that run have been ended."""

    def _of(self, cell: Cell) -> submitit.AutoExecutor:
        """An executor of the cell's cores and GPUs. What `job` says goes before."""
        folder: Path = cell.folder.parent.with_name(JOBS) / cell.digest
        executor = submitit.AutoExecutor(folder=folder, cluster=self._executor)
        parameters: dict[str, Any] = {"name": f"stepcredit-{cell.digest}", "gpus_per_node": cell.gpus}
        if cell.cpus:
            parameters["cpus_per_task"] = cell.cpus
        executor.update_parameters(**{**parameters, **self._job})
        return executor
