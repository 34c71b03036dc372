"""Where a run's weights pass from the learner to the engines: shared memory, or the disk where there is no room."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

from safetensors import safe_open

from rollout.transfer import Route
from rollout.types import Precision
from rollout.weights import SHARED_MEMORY, NoRoom, exchange_folder, roomy, sweep
from trainer.config.build import ConfigError
from trainer.config.settings import ClusterConfig
from trainer.report.progress import Display

IN_OUTPUT = "weights-on-their-way"
BYTES = {"float32": 4, "bfloat16": 2}


@contextmanager
def weights_route(
    cluster: ClusterConfig,
    model: str,
    display: Display,
    shared: Path = SHARED_MEMORY,
    *,
    nodes_share: Path | None = None,
) -> Iterator[Route]:
    """How the weights of the Hugging Face folder `model` travel; one line tells where it is not in shared memory.

    nodes_share: the run's output folder where the run has several nodes, which have no shared memory in common; no
    other run writes there. Raises ConfigError where no place has room for what passes through host memory: two copies
    of a file, or a bucket; and for buckets in shared memory of several nodes.
    """
    if cluster.way in ("ipc", "nccl"):
        yield Route(way=cluster.way, bucket_bytes=cluster.bucket_bytes)
        return
    if cluster.way == "shm" and nodes_share is not None:
        raise ConfigError(
            "cluster.weight_transfer='shm' with several nodes, which have no memory in common: set "
            "cluster.weight_transfer=auto"
        )
    weights = weights_bytes(Path(model), cluster.dtype)
    # The old file goes after the new one is written. A bucket is never larger than all weights.
    num_bytes, what = (2 * weights, "two copies of the weights") if cluster.way == "file" else (weights, "the weights")
    place = (
        _folder_for(num_bytes, what, display, shared) if nodes_share is None else _between_nodes(nodes_share, display)
    )
    with place as folder:
        yield Route(way=cluster.way, folder=folder, bucket_bytes=cluster.bucket_bytes)


@contextmanager
def _between_nodes(output: Path, display: Display) -> Iterator[Path]:
    folder = output / IN_OUTPUT
    display.stage(f"the weights go from node to node through {folder}")
    shutil.rmtree(folder, ignore_errors=True)  # a killed run's
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _folder_for(needed: int, what: str, display: Display, shared: Path) -> Iterator[Path]:
    sweep(shared)  # what a killed run left would count as taken
    try:
        place = roomy(needed, shared)
    except NoRoom as error:
        raise ConfigError(str(error)) from error
    if place != shared:
        display.stage(
            f"{shared} has no room for {what} ({needed / 2**20:.0f} MB): they go through {place}, "
            "which is slower; docker run --shm-size=... enlarges it"
        )
    with exchange_folder(place) as folder:
        yield folder


def weights_bytes(model: Path, dtype: Precision) -> int:
    """What the weights of a Hugging Face folder take in a file of this precision."""
    return BYTES[dtype] * sum(map(_parameters, model.glob("*.safetensors")))


def _parameters(file: Path) -> int:
    """The numbers in a safetensors file; only its header is read."""
    with safe_open(file, framework="numpy") as tensors:
        return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
