"""Where a run's weights pass from the learner to the engines: shared memory, or the disk where there is no room."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

from safetensors import safe_open

from rollout.types import Precision
from rollout.weights import SHARED_MEMORY, NoRoom, exchange_folder, roomy, sweep
from trainer.config.build import ConfigError
from trainer.report.progress import Display

BYTES = {"float32": 4, "bfloat16": 2}


@contextmanager
def weights_folder(model: str, dtype: Precision, display: Display, shared: Path = SHARED_MEMORY) -> Iterator[Path]:
    """A folder for the weights of the Hugging Face folder `model`; one line tells where it is not in shared memory.

    dtype: what the learner writes. Raises ConfigError where no place has room for two copies.
    """
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
