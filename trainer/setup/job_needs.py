"""The cores and the host memory that a run needs of a machine, where nobody said how many: what its job asks for."""

from dataclasses import replace
from typing import Any

from trainer.config.build import ConfigError, ModelError
from trainer.config.commands import TrainConfig
from trainer.config.settings import ClusterConfig
from trainer.setup.gpu_memory import GIB, host_bytes
from trainer.setup.planned import request_of
from trainer.setup.shapes import find_shape

OWN_CORES = 2  # for the command itself and for Ray
PROCESS_BYTES = 4 * GIB  # of each engine and each rank: torch, vLLM and CUDA, as a process holds them in host memory
SMALL_BYTES = GIB  # of each env worker, and of the command itself


def job_needs(config: Any) -> dict[str, int]:
    """The fields `job_cpus` and `job_bytes` of a cell with this config; 0 for what nobody can tell."""
    cluster: ClusterConfig | None = getattr(config, "cluster", None)
    if cluster is None or cluster.address is not None:
        return {"job_cpus": 0, "job_bytes": 0}
    return {"job_cpus": _cores(cluster), "job_bytes": _bytes(config) if isinstance(config, TrainConfig) else 0}


def _cores(cluster: ClusterConfig) -> int:
    """Those that work at one time. Colocated engines and ranks take turns."""
    if cluster.cpus is not None:
        return cluster.cpus
    both = (cluster.engines, cluster.ranks)
    at_once = sum(both) if cluster.placement == "split" else max(both)
    return at_once * cluster.threads + cluster.env_workers + OWN_CORES


def _bytes(config: TrainConfig) -> int:
    """The plan's host memory, Ray's object store, and the processes; 0 on CPUs and without a model's shape."""
    cluster = config.cluster
    try:
        if cluster.device == "cpu" or (shape := find_shape(config.model)) is None:
            return 0
        training = request_of(config, shape, cluster.gpus, card=1).training
    except (ConfigError, ModelError):  # a model or a scorer that the cell itself refuses, and says why
        return 0
    planned = host_bytes(shape, replace(training, ranks=cluster.gpus), cluster.way)
    processes = (cluster.engines + cluster.ranks) * PROCESS_BYTES + (cluster.env_workers + 1) * SMALL_BYTES
    return planned + cluster.object_store_bytes + processes
