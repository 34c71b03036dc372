"""What a node of the cluster has, looked at by a small process on that node."""

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from envs.base import EnvError
from rollout.weights import SHARED_MEMORY, sweep
from trainer.config.build import ConfigError
from trainer.config.settings import EnvConfig
from trainer.setup.findings import Gpu, gpus
from trainer.setup.machine import CPU_BUILD, CUDA_BUILD, installed
from trainer.setup.world import open_world

ROOT = Path(__file__).parents[2]
ROOMS = ("envs", "estimators", "rollout", "trainer")
COMPARED = ("torch", "ray", "transformers", "deepspeed", "numpy", "stepcredit")
NONCE = ".stepcredit-probe-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a run needs of every node."""

    model: str
    """The model's folder."""
    env: EnvConfig | None
    """The world that env workers play; None where none plays."""
    output: str | None
    """The folder that all nodes must share; None where the driver alone writes."""
    nonce: str
    """A word of this run. The driver writes it into the output folder, and nodes read it there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a node has."""

    versions: dict[str, str] = field(default_factory=dict[str, str])
    """By distribution; "python" too, and "source", a checksum of stepcredit's own files."""
    model: str | None = None
    """Checksum of the names and sizes in the model's folder; None where there is no such folder."""
    world: str | None = None
    """Checksum of the tasks of both splits; None where none was asked for."""
    world_error: str | None = None
    """Why the world cannot be opened."""
    shares_output: bool = True
    """Whether the node sees what the driver wrote into the output folder, and could write beside it."""
    shared_bytes: int = 0
    """Free bytes of shared memory."""
    gpus: tuple[Gpu, ...] = ()
    """As nvidia-smi lists them."""


class Probe:
    """Runs on a node."""

    def look(self, wanted: Wanted) -> Report:
        """Look at this node. Removes what killed runs left in its shared memory, which would count as taken."""
        sweep(SHARED_MEMORY)
        world = world_error = None
        if wanted.env is not None:
            try:
                world = _tasks(wanted.env)
            except (EnvError, ConfigError, ImportError, OSError) as error:
                world_error = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Report(
            versions=versions(),
            model=folder_digest(Path(wanted.model)),
            world=world,
            world_error=world_error,
            shares_output=wanted.output is None or _shares(Path(wanted.output), wanted.nonce),
            shared_bytes=shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0,
            gpus=gpus(),
        )

    def write(self, folder: str, name: str, offset: int, data: bytes) -> None:
        """Write a part of a file of a folder that is on its way here. `finish` gives the folder its name."""
        path = _partial(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if offset else "wb") as file:
            file.seek(offset)  # another node that shares the disk may have written it already
            file.write(data)

    def finish(self, folder: str) -> None:
        """The folder is whole. On a disk that several nodes share, the first of them gives it its name."""
        try:
            _partial(folder).rename(folder)
        except FileNotFoundError:
            if not Path(folder).is_dir():
                raise


def _partial(folder: str) -> Path:
    return Path(f"{folder}.partial")


def versions() -> dict[str, str]:
    """What must be the same on all nodes, by name."""
    packages = {name: importlib.metadata.version(name) for name in COMPARED}
    build = next((name for name in (CUDA_BUILD, CPU_BUILD) if installed(name)), None)
    vllm = f"{build} {importlib.metadata.version(build)}" if build else "none"
    return {"python": platform.python_version(), **packages, "vllm": vllm, "source": _source()}


def _source() -> str:
    digest = xxhash.xxh3_64()
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            digest.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def folder_digest(folder: Path) -> str | None:
    """A checksum of the names and sizes of a folder's files; None where there is no such folder."""
    if not folder.is_dir():
        return None
    files = sorted(f"{file.name} {file.stat().st_size}" for file in folder.iterdir() if file.is_file())
    return xxhash.xxh3_64_hexdigest("\n".join(files).encode())


def _tasks(env: EnvConfig) -> str:
    world = open_world(env)
    return xxhash.xxh3_64_hexdigest("\n".join([*world.train, "", *world.validation]).encode())


def _shares(output: Path, nonce: str) -> bool:
    try:
        return (output / f"{NONCE}{nonce}").read_text() == nonce and os.access(output, os.W_OK)
    except OSError:
        return False
