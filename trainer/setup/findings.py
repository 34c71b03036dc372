"""What this machine is, and what of it would stop a run: one finding a line, each with its remedy."""

import importlib.metadata
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from rollout.weights import SHARED_MEMORY
from trainer.setup.gpu_memory import GIB
from trainer.setup.machine import CPU_BUILD, OLDEST_DRIVER, installed, is_too_old, nvidia_smi

MIB = 2**20
QUERY = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
LEAST_DISK, LEAST_SHARED = 20 * GIB, 8 * GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU, as its driver describes it."""

    name: str
    """Such as "NVIDIA H100 80GB HBM3"."""
    memory_bytes: int
    """In all."""
    driver: str
    """Version of the driver, such as "580.65.06"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    """What was looked at."""
    value: str
    """What was found."""
    remedy: str | None = None
    """What to do about it; None where it is as it should be."""


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs of this machine; none where no driver answers."""
    rows = [line.split(", ") for line in nvidia_smi(*QUERY) if line.count(", ") == 2]
    return tuple(Gpu(name=name, memory_bytes=int(memory) * MIB, driver=driver) for name, memory, driver in rows)


def findings(found: tuple[Gpu, ...]) -> list[Finding]:
    """Python, cores, memory, disk, shared memory, locks and GPUs of this machine. found: its GPUs."""
    disk, shared = shutil.disk_usage(Path.cwd()).free, _free(SHARED_MEMORY)
    short = "docker run --shm-size=16g, which Ray and NCCL use" if shared < LEAST_SHARED and found else None
    return [
        Finding(what="Python", value=platform.python_version()),
        Finding(what="cores", value=str(os.cpu_count())),
        Finding(what="memory", value=_gib(psutil.virtual_memory().total)),
        Finding(
            what="disk here",
            value=f"{_gib(disk)} free",
            remedy=None if disk >= LEAST_DISK else f"free {_gib(LEAST_DISK)} for checkpoints, or set output=...",
        ),
        Finding(what=str(SHARED_MEMORY), value=f"{_gib(shared)} free", remedy=short),
        Finding(what="temporary files", value=f"{_gib(_free(Path(tempfile.gettempdir())))} free"),
        _lock(found),
        *(_described(gpu) for gpu in found),
    ]


def _lock(found: tuple[Gpu, ...]) -> Finding:
    """Which lock is installed, and whether it is the one for this machine."""
    version = importlib.metadata.version("torch")
    serves_gpus = "+cpu" not in version and not installed(CPU_BUILD)
    remedy = None
    if found and not serves_gpus:
        remedy = "STEPCREDIT_LOCK=gpu scripts/install, to use the GPU"
    if not found and serves_gpus:
        remedy = "STEPCREDIT_LOCK=cpu scripts/install: this build runs on GPUs only"
    return Finding(what="lock", value=f"{'GPU' if serves_gpus else 'CPU'} (torch {version})", remedy=remedy)


def _described(gpu: Gpu) -> Finding:
    old = f"install NVIDIA driver {OLDEST_DRIVER} or newer: the GPU lock has CUDA 13"
    value = f"{gpu.name}, {_gib(gpu.memory_bytes)}, driver {gpu.driver}"
    return Finding(what="GPU", value=value, remedy=old if is_too_old(gpu.driver) else None)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free if folder.is_dir() else 0


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
