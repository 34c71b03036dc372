"""Tensors of a rank as arrays for the driver."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from trainer.data.tokens import Float32


def as_array(values: Tensor) -> Float32:
    """A tensor of any device and precision, in float32."""
    return values.detach().float().cpu().numpy()


def joined(parts: Sequence[np.ndarray], dtype: type[np.generic] = np.float32) -> np.ndarray:
    """The parts as one array; an empty one of this type if there are none."""
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)


def joined_if_any(parts: Sequence[Tensor | None]) -> Float32 | None:
    """The parts as one array; None if there are none."""
    present = [as_array(part) for part in parts if part is not None]
    return np.concatenate(present) if present else None
