"""Where a run's weights pass from the learner to the engines: shared memory, or the disk where there is no room."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

from safetensors import safe_open

from rollout.types import Precision
from rollout.weights import SHARED_MEMORY, NoRoom, exchange_folder, roomy, sweep
from trainer.config.build import ConfigError
from trainer.report.progress import Display

IN_OUTPUT = "weights-on-their-way"
BYTES = {"float32": 4, "bfloat16": 2}


@contextmanager
def weights_folder(
    model: str, dtype: Precision, display: Display, shared: Path = SHARED_MEMORY, *, nodes_share: Path | None = None
) -> Iterator[Path]:
    """A folder for the weights of the Hugging Face folder `model`; one line tells where it is not in shared memory.

    dtype: what the learner writes. nodes_share: the run's output folder where the run has several nodes, which have no
    shared memory in common; no other run writes there. Raises ConfigError where no place has room for two copies.
    """
    if nodes_share is not None:
        display.stage(f"the weights go from node to node through {nodes_share / IN_OUTPUT}")
        shutil.rmtree(nodes_share / IN_OUTPUT, ignore_errors=True)  # a killed run's
        (nodes_share / IN_OUTPUT).mkdir(parents=True)
        try:
            yield nodes_share / IN_OUTPUT
        finally:
            shutil.rmtree(nodes_share / IN_OUTPUT, ignore_errors=True)
        return
    needed = 2 * weights_bytes(Path(model), dtype)  # the old file goes after the new one is written
    sweep(shared)  # what a killed run left would count as taken
    try:
        place = roomy(needed, shared)
    except NoRoom as error:
        raise ConfigError(str(error)) from error
    if place != shared:
        display.stage(
            f"{shared} has no room for two copies of the weights ({needed / 2**20:.0f} MB): they go through {place}, "
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
