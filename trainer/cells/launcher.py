"""Settings of how cells are launched."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, doc


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """Where cells run, and how many at once."""

    kind: Literal["local", "ray", "submitit"] = "local"
    """"local" runs cells as processes of this machine, "ray" on the nodes of a Ray cluster, "submitit" as jobs of
    SLURM."""

    parallel: Annotated[int | None, Ge(1), doc("1 or more, or null")] = None
    """Cells at once; null: 1 on this machine, all of them elsewhere, where the cluster's queue decides."""

    keep_parts: bool = True
    """Whether a cell of this machine takes over what the cell before has started: Ray, engines, env workers, and the
    learner's processes on CPUs. Read only if kind=local."""

    address: str = "auto"
    """Address of the Ray cluster. Read only if kind=ray."""

    executor: Literal["slurm", "local"] = "slurm"
    """"local" runs submitit's jobs on this machine, without SLURM, to try it. Read only if kind=submitit."""

    job: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Parameters of each job as submitit names them, such as {timeout_min: 600, slurm_partition: gpu}; without a time a
    job has a day. Read only if kind=submitit."""
