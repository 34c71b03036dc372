"""Hidden states of a group in two dimensions, and the nearest of each."""

import numpy as np
from numpy.typing import NDArray

from trainer.inspect.records import HiddenRecord
from trainer.inspect.shorter import shorter

NEAREST = 6
"""How many neighbours of a row the page names."""


def hidden_record(vectors: NDArray[np.float32]) -> HiddenRecord:
    """Principal axes and neighbours of the hidden states [n, D] of one group, as vectors of unit length.

    One of zeros has no direction and stays as it is.
    """
    unit = vectors.astype(np.float64)
    length = np.linalg.norm(unit, axis=1, keepdims=True)
    unit /= np.where(length > 0, length, 1.0)
    left, scale, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    places = np.zeros((len(unit), 2))
    axes = min(2, len(scale))
    places[:, :axes] = left[:, :axes] * scale[:axes]
    total = float(np.square(scale).sum())
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    near = np.argsort(-cosine, axis=1, kind="stable")[:, : min(NEAREST, len(unit) - 1)]
    return HiddenRecord(
        x=shorter(places[:, 0]),
        y=shorter(places[:, 1]),
        kept=float(np.square(scale[:2]).sum()) / total if total > 0 else 1.0,
        near=near.tolist(),
        cosine=[shorter(row) for row in np.take_along_axis(cosine, near, axis=1)],
    )
