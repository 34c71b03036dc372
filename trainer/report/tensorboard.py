"""TensorBoard's files. Runs that write none do not import this file, which imports torch."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


def start(folder: Path, first: int) -> SummaryWriter:
    """A writer that drops what an earlier process logged of the updates from `first` on."""
    return SummaryWriter(str(folder), purge_step=first)
